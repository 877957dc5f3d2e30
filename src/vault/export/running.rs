//! An export while it is being written, a page at a time. It shows the vault as it was when it began:
//! what is about to be changed and was not reached yet is written before it changes.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::{ExportFile, Exported};
use crate::vault::audit::{AuditEntry, AuditKind};
use crate::vault::commit::Failure;
use crate::vault::error::VaultError;
use crate::vault::names::BlindName;
use crate::vault::offline::interrupted;
use crate::vault::opened::{OpenVault, encode};

/// The most records of a page.
const MOST_ITEMS: usize = 256;

/// After so many bytes a page takes nothing more.
const ENOUGH_BYTES: usize = 1024 * 1024;

/// An export under way.
pub(in crate::vault) struct Exporting {
    file: ExportFile,
    /// The last record that was reached.
    reached: Option<BlindName>,
    /// The records behind it that were changed, or came, since the export began. Those that were there
    /// are in the file.
    changed: BTreeSet<BlindName>,
    exported: Exported,
    /// Why a record could not be written before it changed.
    failed: Option<VaultError>,
}

impl Exporting {
    /// Writes the record under `name` as it is, and says how many bytes that took. One that does not
    /// open is left out.
    fn write(&mut self, vault: &OpenVault, name: &BlindName) -> Result<usize, VaultError> {
        let Some(slot) = vault.index.get(name) else { return Ok(0) };
        let opened = if vault.quarantine.contains_key(name) {
            None
        } else {
            vault.open_record(name, slot.entry.version)?.ok()
        };
        let (Some((_, payload)), Some(writer)) = (opened, &mut self.file.writer) else {
            self.exported.left_out += 1;
            return Ok(0);
        };
        let meta = Zeroizing::new(encode(&slot.entry, &slot.unknown)?);
        for part in [&meta, &payload] {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            writer.write_all(&length.to_be_bytes())?;
            writer.write_all(part)?;
        }
        self.exported.records += 1;
        Ok(meta.len() + payload.len())
    }

    /// Writes the end, without which nobody can use the file. There is no export that the trail does
    /// not tell of, so this comes after [`OpenVault::end_export`].
    pub(in crate::vault) fn finish(self) -> Result<Exported, VaultError> {
        self.file.finish()?;
        Ok(self.exported)
    }

    fn write_page(&mut self, vault: &OpenVault) -> Result<bool, VaultError> {
        let mut bytes = 0;
        for name in vault.index.names_after(self.reached).take(MOST_ITEMS) {
            if !self.changed.remove(&name) {
                bytes += self.write(vault, &name)?;
            }
            self.reached = Some(name);
            if bytes >= ENOUGH_BYTES {
                return Ok(false);
            }
        }
        Ok(vault.index.names_after(self.reached).next().is_none())
    }
}

impl OpenVault {
    /// Begins to write every record to `file`.
    pub(in crate::vault) fn begin_export(&mut self, file: ExportFile) {
        // Of these not even the name is known, so no page comes to them.
        let nameless = self.quarantine.keys().filter(|name| self.index.get(name).is_none());
        let exported = Exported { records: 0, left_out: nameless.count() };
        let changed = BTreeSet::new();
        self.export = Some(Exporting { file, reached: None, changed, exported, failed: None });
    }

    /// Writes a page, and says whether that was the last. After a failure there is no file.
    pub(in crate::vault) fn continue_export(&mut self) -> Result<bool, VaultError> {
        let Some(mut export) = self.export.take() else { return Err(interrupted()) };
        if let Some(error) = export.failed.take() {
            return Err(error);
        }
        let done = export.write_page(self)?;
        self.export = Some(export);
        Ok(done)
    }

    /// Lets the trail tell of the export, of which every page is written.
    pub(in crate::vault) fn end_export(&mut self) -> Result<Exporting, Failure> {
        let Some(export) = self.export.take() else { return Err(interrupted().into()) };
        self.record(&AuditEntry::new(AuditKind::VaultExported))?;
        Ok(export)
    }

    /// Has the records under `names`, which are about to change, written to the export that is under
    /// way, unless they are in it.
    pub(in crate::vault) fn keep_for_export<'n>(
        &mut self,
        names: impl Iterator<Item = &'n BlindName>,
    ) {
        let Some(mut export) = self.export.take() else { return };
        let reached = export.reached;
        for name in names.filter(|name| reached.is_none_or(|reached| **name > reached)) {
            if export.failed.is_none()
                && !export.changed.contains(name)
                && let Err(error) = export.write(self, name)
            {
                export.failed = Some(error);
            }
            export.changed.insert(*name);
        }
        self.export = Some(export);
    }
}

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
    /// The records behind it that were changed, or came, since the export began, and are still there. Those
    /// that were there before are in the file.
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
        let nameless = self.quarantine.keys().filter(|name| self.index.version(name).is_none());
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

    /// Forgets a record that is gone: no page comes to it, and if it comes back, that is a change again.
    pub(in crate::vault) fn forget_for_export(&mut self, name: &BlindName) {
        if let Some(export) = &mut self.export {
            export.changed.remove(name);
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Sources;
    use crate::identity::UserId;
    use crate::secret::Secret;
    use crate::vault::{Batch, Expect, RecordKey, RecordKind, Tags, Vault};

    fn key(number: u32) -> RecordKey {
        let user = UserId::new(&format!("user-{number}")).expect("a name");
        RecordKey::new(RecordKind::Session, user, "one")
    }

    fn put(number: u32) -> Batch {
        Batch::new().put(key(number), Zeroizing::default(), Expect::Anything, Tags::default())
    }

    #[tokio::test]
    async fn an_export_remembers_no_record_that_came_and_went() {
        let directory = tempfile::tempdir().expect("a directory");
        let passphrase = Secret::new("correct horse battery staple");
        let path = directory.path().join("all.export");
        let file = ExportFile::create(&path, passphrase.clone(), &Sources::system()).await;
        let mut vault = OpenVault::open(&Vault::in_memory(), Sources::system(), Arc::new(|_| {}))
            .expect("a vault");
        let mut commit = |batch| vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
        (0..10).for_each(|number| commit(put(number)));
        vault.begin_export(file.expect("a file"));
        for number in 5..500 {
            let batches = [put(number), Batch::new().delete(key(number), Expect::Anything)];
            for batch in batches {
                vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
            }
        }
        let remembered = vault.export.as_ref().map(|export| export.changed.len());
        assert_eq!(remembered, Some(0));
        vault.commit(vec![put(7)]).verdicts.remove(0).expect("it comes back");
        while !vault.continue_export().expect("a page") {}
        let exported = vault.end_export().and_then(|export| Ok(export.finish()?));
        assert_eq!(exported.expect("exported").records, 10, "as they were when it began");
    }
}

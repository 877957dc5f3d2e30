//! The power is cut at every step on the disk of whatever does more than a commit: an erasure, a
//! rotation, a move, a backup, a restoration, an import. Either what was before is there afterwards or
//! what was to be, whole, and it is the latter as soon as that was promised.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::rotation::{keep_up, new_master};
use super::*;
use crate::secret::Secret;
use crate::vault::export::{ExportFile, Exported};
use crate::vault::names::BlindName;
use crate::vault::opened::OpenVault;
use crate::vault::store::contract::files_with;
use crate::vault::store::power_cut::{Cut, Noise, Promises, cut_at_every_step, rounds};

const ENGINES: &[Engine] = &[
    Engine::Sled,
    #[cfg(feature = "redb")]
    Engine::Redb,
];

/// The records of a vault, by user and name.
type Content = BTreeMap<(String, String), Vec<u8>>;

fn settings(folder: &Path, engine: Engine) -> Vault {
    on_disk(folder).engine(engine).reserve(0)
}

fn open(vault: &Vault) -> Result<OpenVault, VaultError> {
    OpenVault::open(vault, Sources::system(), Arc::new(|_| {}))
}

fn commit(vault: &mut OpenVault, batch: Batch) {
    vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
}

fn content(vault: &mut OpenVault) -> Content {
    let entries = vault.list(&Query::all(RecordKind::Credential));
    let read = entries.into_iter().map(|entry| {
        let record = vault.read(&entry.key).expect("it opens").expect("it is there");
        let name = (entry.key.user.to_string(), entry.key.name.clone());
        (name, record.payload.to_vec())
    });
    read.collect()
}

/// What a vault holds at first.
fn filled() -> Content {
    let records = ["ada", "bob"].into_iter().flat_map(|who| {
        (0..12_u8).map(move |number| {
            let name = (who.to_owned(), number.to_string());
            (name, vec![number; usize::from(number) * 700])
        })
    });
    records.collect()
}

fn fill(vault: &Vault) {
    let mut vault = open(vault).expect("a vault");
    for round in 0..2 {
        for ((who, name), payload) in filled() {
            let payload = if round == 0 { vec![9; 500] } else { payload };
            commit(&mut vault, put(&key(&who, &name), &payload, Expect::Anything));
        }
    }
}

/// Opens what a cut left, finishes what it interrupted as a start does, and finds `expected` now,
/// after another commit, and after another opening.
fn assert_whole(vault: &Vault, expected: &Content, cut: &Cut) {
    let fail = |error: VaultError| -> OpenVault { panic!("after {}: {error}", cut.step) };
    let mut opened = open(vault).unwrap_or_else(fail);
    opened.finish_erasure().expect("finished");
    assert!(content(&mut opened) == *expected, "after {}", cut.step);
    commit(&mut opened, put(&key("eve", "after"), b"it goes on", Expect::Absent));
    drop(opened);
    let mut opened = open(vault).unwrap_or_else(fail);
    let after = Content::from([(("eve".to_owned(), "after".to_owned()), b"it goes on".to_vec())]);
    assert!(content(&mut opened) == expected.iter().chain(&after).map(owned).collect());
    assert_eq!(opened.inspect().expect("an inspection").quarantined, 0);
}

fn owned<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

/// Does `work` in a folder that `prepare` filled, until the power was cut often enough, and lets
/// `check` see each folder that a cut left.
fn try_often(
    what: &str,
    prepare: impl Fn(&Path, Engine),
    work: impl Fn(&Path, Engine, &Promises),
    check: impl Fn(&Path, Engine, &Cut),
) {
    for engine in ENGINES.iter().copied() {
        let mut noise = Noise::new();
        let (mut cuts, mut times) = (0, 0);
        while cuts < rounds(1) {
            let folder = tempfile::tempdir().expect("a folder");
            let (live, copies) = (folder.path().join("live"), folder.path().join("copies"));
            std::fs::create_dir(&live).expect("a folder");
            prepare(&live, engine);
            let left = cut_at_every_step(&live, &copies, &mut noise, |promises| {
                work(&live, engine, promises);
            });
            assert!(left.len() > 5, "{what}: it has steps");
            for cut in &left {
                check(&cut.path, engine, cut);
            }
            cuts += left.len();
            times += 1;
        }
        println!("{engine}: {what}, {times} times, {cuts} power cuts: 0 lost, 0 failed openings");
    }
}

/// Runs what a host would await.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

#[test]
fn in_an_erasure_the_user_is_there_or_gone_and_everybody_else_is_there() {
    let prepare = |folder: &Path, engine| fill(&settings(folder, engine));
    let stages = {
        let mut stages = vec![filled()];
        let mut next = |change: &dyn Fn(&mut Content)| {
            let mut content = stages.last().expect("one").clone();
            change(&mut content);
            stages.push(content);
        };
        let bob = ("bob".to_owned(), "0".to_owned());
        next(&|content| drop(content.insert(bob.clone(), b"before".to_vec())));
        next(&|content| content.retain(|(who, _), _| who != "ada"));
        next(&|content| drop(content.insert(bob.clone(), b"after".to_vec())));
        stages
    };
    let work = |folder: &Path, engine, promises: &Promises| {
        let mut vault = open(&settings(folder, engine)).expect("a vault");
        commit(&mut vault, put(&key("bob", "0"), b"before", Expect::Anything));
        promises.give();
        assert_eq!(vault.erase_user(&user("ada")).expect("erased"), 12);
        promises.give();
        commit(&mut vault, put(&key("bob", "0"), b"after", Expect::Anything));
        promises.give();
    };
    let check = |folder: &Path, engine, cut: &Cut| {
        let settings = settings(folder, engine);
        let mut vault = open(&settings).unwrap_or_else(|error| panic!("{}: {error}", cut.step));
        vault.finish_erasure().expect("finished");
        let found = content(&mut vault);
        let name = BlindName::new(&vault.keys.name_key, &key("ada", "3")).as_bytes()[..16].to_vec();
        drop(vault);
        let stage = stages.iter().position(|stage| *stage == found);
        let stage = stage.unwrap_or_else(|| panic!("after {}: a whole stage", cut.step));
        assert!((cut.promised..=cut.promised + 1).contains(&stage), "after {}: {stage}", cut.step);
        if stage >= 2 {
            assert_eq!(files_with(folder, &name), 0, "after {}", cut.step);
        }
        assert_whole(&settings, &found, cut);
    };
    try_often("erasure", prepare, work, check);
}

#[test]
fn in_a_rotation_of_the_data_key_everything_opens() {
    let prepare = |folder: &Path, engine| fill(&settings(folder, engine));
    let work = |folder: &Path, engine, promises: &Promises| {
        let mut vault = open(&settings(folder, engine)).expect("a vault");
        vault.rotate_data_key().expect("rotated");
        promises.give();
        keep_up(&mut vault);
        promises.give();
    };
    let check = |folder: &Path, engine, cut: &Cut| {
        let settings = settings(folder, engine);
        let mut vault = open(&settings).unwrap_or_else(|error| panic!("{}: {error}", cut.step));
        keep_up(&mut vault);
        let keys = vault.inspect().expect("an inspection").data_keys;
        assert_eq!(keys.len(), 1, "after {}", cut.step);
        assert!(cut.promised == 0 || keys[0].id == 2, "after {}", cut.step);
        drop(vault);
        assert_whole(&settings, &filled(), cut);
    };
    try_often("rotation of the data key", prepare, work, check);
}

#[test]
fn in_a_rotation_of_the_master_key_the_old_or_the_new_one_opens_everything() {
    let prepare = |folder: &Path, engine| fill(&settings(folder, engine));
    let work = |folder: &Path, engine, promises: &Promises| {
        let mut vault = open(&settings(folder, engine)).expect("a vault");
        vault.rotate_master_key(new_master(8)).expect("rotated");
        vault.finish_rotation().expect("over");
        promises.give();
    };
    let check = |folder: &Path, engine, cut: &Cut| {
        let old = settings(folder, engine);
        let new = old.clone().master_key(MasterKey::from_bytes([8; 32]));
        let vault = match open(&old).map(drop) {
            Ok(()) if cut.promised == 0 => old,
            Ok(()) => panic!("the old key was to be over"),
            Err(error) => {
                assert!(error.is_wrong_key(), "after {}: {error}", cut.step);
                new
            }
        };
        assert_whole(&vault, &filled(), cut);
    };
    try_often("rotation of the master key", prepare, work, check);
}

#[cfg(feature = "redb")]
#[test]
fn in_a_move_to_another_engine_one_of_them_has_everything() {
    let other = |engine| if engine == Engine::Sled { Engine::Redb } else { Engine::Sled };
    let prepare = |folder: &Path, engine| fill(&settings(folder, engine));
    let work = |folder: &Path, engine, promises: &Promises| {
        wait(settings(folder, engine).move_to(other(engine))).expect("moved");
        promises.give();
    };
    let check = |folder: &Path, engine, cut: &Cut| {
        let old = settings(folder, engine).create_if_missing(false);
        let vault = match open(&old).map(drop) {
            Ok(()) if cut.promised == 0 => old,
            Ok(()) => panic!("it was to be moved"),
            Err(error) => {
                assert!(error.is_other_engine(), "after {}: {error}", cut.step);
                old.engine(other(engine))
            }
        };
        assert_whole(&vault, &filled(), cut);
    };
    try_often("move to the other engine", prepare, work, check);
}

fn backup(folder: &Path) -> PathBuf {
    folder.join("backup")
}

fn back_up(vault: &mut OpenVault, folder: &Path) -> Result<(), VaultError> {
    vault.begin_backup(&backup(folder))?;
    while !vault.continue_backup()? {}
    Ok(())
}

fn export(vault: &mut OpenVault, to: ExportFile) -> Result<Exported, VaultError> {
    vault.begin_export(to);
    while !vault.continue_export()? {}
    vault.end_export().map_err(|failure| failure.error)?.finish()
}

#[test]
fn in_a_backup_the_vault_is_as_it_was_and_the_copy_is_whole_or_not_there() {
    let prepare = |folder: &Path, engine| fill(&settings(folder, engine));
    let work = |folder: &Path, engine, promises: &Promises| {
        let mut vault = open(&settings(folder, engine)).expect("a vault");
        back_up(&mut vault, folder).expect("backed up");
        promises.give();
    };
    let check = |folder: &Path, engine, cut: &Cut| {
        let vault = settings(folder, engine);
        if backup(folder).exists() {
            let path = folder.join("restored");
            let restored = settings(&path, engine);
            std::fs::create_dir(&path).expect("a folder");
            wait(restored.restore(backup(folder))).expect("restored");
            assert_whole(&restored, &filled(), cut);
        } else {
            assert_eq!(cut.promised, 0, "after {}", cut.step);
            let mut vault = open(&vault).expect("a vault");
            back_up(&mut vault, folder).expect("it can be done again");
        }
        assert_whole(&vault, &filled(), cut);
    };
    try_often("backup", prepare, work, check);
}

#[test]
fn in_a_restoration_the_vault_is_whole_or_not_there_and_the_backup_is_as_it_was() {
    let prepare = |folder: &Path, engine| {
        fill(&settings(folder, engine));
        let mut vault = open(&settings(folder, engine)).expect("a vault");
        back_up(&mut vault, folder).expect("backed up");
        drop(vault);
        std::fs::remove_dir_all(folder.join("agent.vault")).expect("lost");
    };
    let work = |folder: &Path, engine, promises: &Promises| {
        wait(settings(folder, engine).restore(backup(folder))).expect("restored");
        promises.give();
    };
    let check = |folder: &Path, engine, cut: &Cut| {
        let vault = settings(folder, engine).create_if_missing(false);
        if let Err(error) = open(&vault).map(drop) {
            assert!(error.is_absent() && cut.promised == 0, "after {}: {error}", cut.step);
            wait(vault.restore(backup(folder))).expect("it can be done again");
        }
        assert_whole(&vault, &filled(), cut);
    };
    try_often("restoration", prepare, work, check);
}

#[test]
fn in_an_import_the_vault_is_whole_or_not_there() {
    let passphrase = || Secret::new("correct horse battery staple");
    let file = |folder: &Path| folder.join("export");
    let prepare = |folder: &Path, engine| {
        fill(&settings(folder, engine));
        let mut vault = open(&settings(folder, engine)).expect("a vault");
        let sources = Sources::system();
        let to = wait(ExportFile::create(file(folder), passphrase(), &sources)).expect("a file");
        assert_eq!(export(&mut vault, to).expect("exported").records, 24);
        drop(vault);
        std::fs::remove_dir_all(folder.join("agent.vault")).expect("lost");
    };
    let work = |folder: &Path, engine, promises: &Promises| {
        wait(settings(folder, engine).import(file(folder), passphrase())).expect("imported");
        promises.give();
    };
    let check = |folder: &Path, engine, cut: &Cut| {
        let vault = settings(folder, engine).create_if_missing(false);
        if let Err(error) = open(&vault).map(drop) {
            assert!(error.is_absent() && cut.promised == 0, "after {}: {error}", cut.step);
        } else {
            assert_whole(&vault, &filled(), cut);
        }
    };
    try_often("import", prepare, work, check);
}

#[test]
fn in_the_making_of_a_key_there_is_all_of_it_or_none_and_the_next_start_goes_on() {
    let file = |folder: &Path| folder.join("keys").join("of-agent").join("agent.key");
    let vault = |folder: &Path, engine| {
        let key = MasterKey::from_file(file(folder)).create_if_missing();
        settings(folder, engine).master_key(key)
    };
    let work = |folder: &Path, engine, promises: &Promises| {
        fill(&vault(folder, engine));
        promises.give();
    };
    let check = |folder: &Path, engine, cut: &Cut| {
        if file(folder).exists() {
            // A copy of the disk has not the modes of its files.
            use std::os::unix::fs::PermissionsExt as _;
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(file(folder), private).expect("set");
        }
        let vault = vault(folder, engine);
        let mut opened = open(&vault).unwrap_or_else(|error| panic!("after {}: {error}", cut.step));
        let found = content(&mut opened);
        drop(opened);
        assert!(cut.promised == 0 || found == filled(), "after {}", cut.step);
        assert_whole(&vault, &found, cut);
    };
    try_often("making of a key", |_, _| {}, work, check);
}

//! `kill -9` at every step on the disk of an erasure, of a move to another engine, of a restoration and
//! of an import: afterwards there is what was before or what was to be, whole, and never less than
//! what was acknowledged. Of a user whose erasure was interrupted the next start leaves nothing in any file.
//!
//! `TOKENWARD_SOAK_ROUNDS` is how often each is killed on each engine; without it, a few times.

// A process that kills itself with SIGKILL: Windows has no such signal.
#![cfg(unix)]

#[path = "common/killing.rs"]
mod killing;
#[path = "common/remains.rs"]
mod remains;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokenward::Secret;
use tokenward::clock::Sources;
use tokenward::identity::UserId;
use tokenward::supervision::Supervisor;
use tokenward::vault::audit::{Audit, AuditEntry, AuditKind};
use tokenward::vault::{
    Batch, Engine, Expect, ExportFile, MasterKey, Query, RecordKey, RecordKind, Tags, Vault,
    VaultHandle,
};
use zeroize::Zeroizing;

use crate::remains::Remains;

const ENGINES: [Engine; 2] = [Engine::Sled, Engine::Redb];

/// The records of each of two users, beside the one that is written all the while.
const RECORDS: u8 = 30;

/// How often each task is killed on each engine, unless the environment says so.
const ROUNDS: usize = 6;

/// About as many steps as the tasks have, and a prime.
const STEPS: usize = 31;

/// What a child is to do, and when it is to die.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    folder: PathBuf,
    engine: usize,
    task: Task,
    /// How many steps it passes before it kills itself.
    passes: u32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Task {
    Erase,
    Move,
    Restore,
    Import,
}

fn vault(folder: &Path, engine: Engine) -> Vault {
    let key = MasterKey::from_bytes([7; 32]);
    Vault::open(folder.join("vault")).engine(engine).master_key(key).reserve(0)
}

fn backup(folder: &Path) -> PathBuf {
    folder.join("backup")
}

fn export(folder: &Path) -> PathBuf {
    folder.join("export")
}

fn passphrase() -> Secret {
    Secret::new("correct horse battery staple")
}

fn key(user: &str, name: &str) -> RecordKey {
    RecordKey::new(RecordKind::Credential, UserId::new(user).expect("a name"), name)
}

fn put(user: &str, name: &str, payload: Vec<u8>) -> Batch {
    let (key, payload) = (key(user, name), Zeroizing::new(payload));
    Batch::new().put(key, payload, Expect::Anything, Tags::default())
}

/// What tells of a change in the trail, where it stays: nobody can tell any more of whom.
fn entry(user: &str) -> AuditEntry {
    AuditEntry::new(AuditKind::Refreshed).user(&UserId::new(user).expect("a name"))
}

fn payload(number: u8) -> Vec<u8> {
    vec![number; usize::from(number) * 300]
}

/// The number that bob wrote last.
async fn written(vault: &VaultHandle) -> u64 {
    let record = vault.read(&key("bob", "written")).await.expect("it opens").expect("it is there");
    u64::from_be_bytes(*record.payload.first_chunk().expect("eight bytes"))
}

/// Does its task, and dies of it, unless it has fewer steps.
async fn until_killed(orders: Orders) {
    let Orders { folder, engine, task, passes } = orders;
    let settings = vault(&folder, ENGINES[engine]);
    let die = || killing::suicide::die_at("tokenward::vault::disk", None, passes);
    match task {
        Task::Erase => {
            let (_root, vault) = killing::open(settings).await.expect("a vault");
            die();
            let writing = async {
                for number in 1..=20_u64 {
                    let batch = put("bob", "written", number.to_be_bytes().to_vec());
                    vault.commit(batch.record(entry("bob"))).await.expect("durable");
                    killing::acknowledge(number);
                }
            };
            let ada = UserId::new("ada").expect("a name");
            let erasing = async {
                vault.erase_user(&ada).await.expect("erased");
                killing::acknowledge("done");
            };
            tokio::join!(writing, erasing);
            return;
        }
        Task::Move => {
            die();
            settings.move_to(ENGINES[1 - engine]).await.expect("moved");
        }
        Task::Restore => {
            die();
            settings.restore(backup(&folder)).await.expect("restored");
        }
        Task::Import => {
            die();
            settings.import(export(&folder), passphrase()).await.expect("imported");
        }
    }
    killing::acknowledge("done");
}

/// A vault, its backup and its export, which each round begins with.
struct Scene {
    folder: tempfile::TempDir,
    engine: usize,
    /// What the files got with the records of ada, of which an erasure has to leave nothing.
    of_ada: Option<Remains>,
}

impl Scene {
    async fn new(engine: usize, task: Task) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let (root, vault) = open(path, engine).await;
        fill(&vault, "bob").await;
        vault.commit(put("bob", "written", vec![0; 8])).await.expect("durable");
        killing::close(root).await;
        let before = remains::files(path);
        let (root, vault) = open(path, engine).await;
        fill(&vault, "ada").await;
        killing::close(root).await;
        let of_ada = matches!(task, Task::Erase).then(|| Remains::since(&before, path));
        if let Some(of_ada) = &of_ada {
            let payload: usize = (0..RECORDS).map(|number| payload(number).len()).sum();
            assert!(of_ada.count() > payload / 2, "{} bytes of {payload}", of_ada.count());
            assert!(of_ada.places(path).len() > payload / 2, "they can be found");
        }

        let (root, vault) = open(path, engine).await;
        for user in ["ada", "bob"] {
            vault.commit(Batch::new().record(entry(user))).await.expect("durable");
        }
        vault.back_up(backup(path)).await.expect("backed up");
        let to = ExportFile::create(export(path), passphrase(), &Sources::system()).await;
        vault.export(to.expect("a file")).await.expect("exported");
        killing::close(root).await;
        Self { folder, engine, of_ada }
    }

    /// A folder in which `task` can be done.
    fn begin(&self, task: Task) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let needed = match task {
            Task::Erase | Task::Move => "vault",
            Task::Restore => "backup",
            Task::Import => "export",
        };
        copy(&self.folder.path().join(needed), &folder.path().join(needed));
        folder
    }

    /// Kills a process in the middle of `task`, unless that has fewer steps, and says whether it was
    /// killed, and whether ada was gone afterwards.
    async fn kill(&self, test: &str, task: Task, passes: u32) -> (bool, bool) {
        let folder = self.begin(task);
        let orders = Orders { folder: folder.path().to_owned(), engine: self.engine, task, passes };
        let child = killing::child(test, &orders);
        let (acknowledged, killed) = killing::suicide::run(child);
        let done = acknowledged.iter().any(|what| what == "done");
        assert!(done || killed, "it came to its end or was killed");
        let promised = acknowledged.iter().filter_map(|what| what.parse::<u64>().ok()).max();
        let gone = self.check(folder.path(), task, done, promised.unwrap_or_default()).await;
        (killed, gone)
    }

    /// Opens what is there, and finds everything that has to be. Says whether ada is gone.
    async fn check(&self, folder: &Path, task: Task, done: bool, promised: u64) -> bool {
        let engine = ENGINES[self.engine];
        let settings = vault(folder, engine).create_if_missing(false);
        let there = settings.inspect().await;
        let settings = match (task, there) {
            (Task::Move, Err(error)) if error.is_other_engine() => {
                settings.engine(ENGINES[1 - self.engine])
            }
            (Task::Move, Ok(_)) => {
                assert!(!done, "it was to be moved");
                settings
            }
            (Task::Restore, Err(error)) if error.is_absent() && !done => {
                settings.restore(backup(folder)).await.expect("it can be done again");
                settings
            }
            (Task::Import, Err(error)) if error.is_absent() && !done => {
                let again = settings.create_if_missing(true);
                again.import(export(folder), passphrase()).await.expect("it can be done again");
                again
            }
            (_, there) => {
                there.expect("it opens after every kill");
                settings
            }
        };
        let (root, vault) = killing::open(settings).await.expect("it opens after every kill");
        let of = async |user: &str| {
            let user = UserId::new(user).expect("a name");
            let query = Query::all(RecordKind::Credential).of_user(user);
            vault.list(query).await.expect("a list").len()
        };
        let all = usize::from(RECORDS);
        let of_ada = of("ada").await;
        match task {
            Task::Erase => assert!(of_ada == 0 || (of_ada == all && !done), "{of_ada} are left"),
            Task::Move | Task::Restore | Task::Import => assert_eq!(of_ada, all),
        }
        assert_eq!(of("bob").await, all + 1);
        let users = if of_ada == 0 { &["bob"][..] } else { &["ada", "bob"] };
        for user in users {
            for number in 0..RECORDS {
                let record = vault.read(&key(user, &number.to_string())).await.expect("it opens");
                assert_eq!(*record.expect("it is there").payload, payload(number));
            }
        }
        let found = written(&vault).await;
        assert!((promised..=promised + 1).contains(&found), "{promised} was promised: {found}");
        let report = Audit::new(vault.clone()).verify().await.expect("a verification");
        assert_eq!(report.finding, None);
        assert_eq!(vault.inspect().await.expect("an inspection").quarantined, 0);
        vault.commit(put("bob", "after", vec![1])).await.expect("it goes on");
        killing::close(root).await;
        let gone = of_ada == 0;
        if gone && let Some(of_ada) = &self.of_ada {
            assert_eq!(of_ada.places(folder), [], "{engine}: nothing of ada is left in any file");
        }
        gone
    }
}

async fn open(folder: &Path, engine: usize) -> (Supervisor, VaultHandle) {
    killing::open(vault(folder, ENGINES[engine])).await.expect("it opens")
}

async fn fill(vault: &VaultHandle, user: &str) {
    for number in 0..RECORDS {
        vault.commit(put(user, &number.to_string(), payload(number))).await.expect("durable");
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        std::fs::copy(from, to).expect("copied");
        return;
    }
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

async fn kill_often(test: &str, task: Task) {
    for (number, engine) in ENGINES.into_iter().enumerate() {
        let scene = Scene::new(number, task).await;
        let rounds = killing::rounds(ROUNDS);
        let (mut kills, mut erased) = (0, 0);
        for round in 0..rounds {
            // Every step comes once before any comes again, and a few rounds see all parts.
            let passes = u32::try_from(round * 7 % STEPS).expect("small");
            let (killed, gone) = scene.kill(test, task, passes).await;
            (kills, erased) = (kills + usize::from(killed), erased + usize::from(gone));
        }
        assert!(kills > 0, "it is killed on the way");
        println!(
            "{engine}: {task:?}: {rounds} rounds, {kills} kills: 0 acknowledged writes lost, 0 \
             failed openings"
        );
        if matches!(task, Task::Erase) {
            assert!(erased > 0, "some die after the deletion");
            println!("{engine}: {erased} times ada was gone, and then from every file");
        }
    }
}

#[tokio::test]
async fn killed_in_an_erasure_the_user_is_there_or_gone_and_everybody_else_is_there() {
    if let Some(orders) = killing::orders() {
        return until_killed(orders).await;
    }
    let test = "killed_in_an_erasure_the_user_is_there_or_gone_and_everybody_else_is_there";
    kill_often(test, Task::Erase).await;
}

#[tokio::test]
async fn killed_in_a_move_to_another_engine_one_of_them_has_everything() {
    if let Some(orders) = killing::orders() {
        return until_killed(orders).await;
    }
    let test = "killed_in_a_move_to_another_engine_one_of_them_has_everything";
    kill_often(test, Task::Move).await;
}

#[tokio::test]
async fn killed_in_a_restoration_the_vault_is_whole_or_not_there() {
    if let Some(orders) = killing::orders() {
        return until_killed(orders).await;
    }
    let test = "killed_in_a_restoration_the_vault_is_whole_or_not_there";
    kill_often(test, Task::Restore).await;
}

#[tokio::test]
async fn killed_in_an_import_the_vault_is_whole_or_not_there() {
    if let Some(orders) = killing::orders() {
        return until_killed(orders).await;
    }
    let test = "killed_in_an_import_the_vault_is_whole_or_not_there";
    kill_often(test, Task::Import).await;
}

//! `kill -9` at every step of both rotations, while somebody writes: whatever was acknowledged is
//! there afterwards, the vault opens with the key that the step says, and the rotation goes on.
//!
//! Each rotation is killed once at each step, or as often as `TOKENWARD_SOAK_ROUNDS` says.

// A process that kills itself with SIGKILL: Windows has no such signal.
#![cfg(unix)]

#[path = "common/killing.rs"]
mod killing;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokenward::identity::UserId;
use tokenward::supervision::Supervisor;
use tokenward::vault::{
    Batch, Expect, MasterKey, RecordKey, RecordKind, Tags, Vault, VaultError, VaultHandle,
};
use zeroize::Zeroizing;

use crate::killing::close;

/// Enough for several steps of a sweep.
const RECORDS: u64 = 200;

/// What the child is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    vault: PathBuf,
    master: u8,
    /// The master key to rotate to; none: the data key is rotated.
    to: Option<u8>,
    /// The step at which it kills itself, and how often it passes it before.
    step: String,
    passes: u32,
}

async fn open(path: &Path, master: u8) -> Result<(Supervisor, VaultHandle), VaultError> {
    killing::open(Vault::open(path).master_key(MasterKey::from_bytes([master; 32]))).await
}

fn key(name: &str) -> RecordKey {
    RecordKey::new(RecordKind::Credential, UserId::new("ada").expect("a name"), name)
}

fn put(name: &str, number: u64) -> Batch {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(2_000, 7);
    Batch::new().put(key(name), Zeroizing::new(payload), Expect::Anything, Tags::default())
}

async fn number(vault: &VaultHandle, name: &str) -> u64 {
    let record = vault.read(&key(name)).await.expect("it opens").expect("it is there");
    assert_eq!(record.payload.len(), 2_000);
    u64::from_be_bytes(*record.payload.first_chunk().expect("eight bytes"))
}

/// Rotates while it writes, until it dies of it.
async fn rotate_until_killed(orders: Orders) {
    let Orders { vault: path, master, to, step, passes } = orders;
    let (_root, vault) = open(&path, master).await.expect("a vault");
    killing::suicide::die_at("tokenward::vault::keys", Some(&step), passes);
    let writing = vault.clone();
    tokio::spawn(async move {
        let mut done = number(&writing, "written").await;
        loop {
            done += 1;
            writing.commit(put("written", done)).await.expect("durable");
            killing::acknowledge(done);
        }
    });
    match to {
        Some(byte) => {
            let new = MasterKey::from_bytes([byte; 32]);
            vault.rotate_master_key(new).await.expect("rotated");
        }
        None => vault.rotate_data_key().await.expect("rotated"),
    }
    std::future::pending::<()>().await;
}

/// A vault that is killed again and again.
struct Scene {
    folder: tempfile::TempDir,
    test: &'static str,
    acknowledged: u64,
}

impl Scene {
    async fn new(test: &'static str, master: u8) -> Self {
        let scene = Self { folder: tempfile::tempdir().expect("a folder"), test, acknowledged: 0 };
        let (root, vault) = open(&scene.path(), master).await.expect("a vault");
        for record in 0..RECORDS {
            vault.commit(put(&record.to_string(), record)).await.expect("durable");
        }
        vault.commit(put("written", 0)).await.expect("durable");
        close(root).await;
        scene
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    /// Lets a child rotate and die.
    fn kill(&mut self, master: u8, to: Option<u8>, step: &str, passes: u32) {
        let orders = Orders { vault: self.path(), master, to, step: step.to_owned(), passes };
        let child = killing::child(self.test, &orders);
        let (acknowledged, killed) = killing::suicide::run(child);
        assert!(killed, "at {step}");
        if let Some(last) = acknowledged.last() {
            self.acknowledged = last.parse().expect("a number");
        }
    }

    /// Opens the vault, in which everything is.
    async fn check(&mut self, master: u8) -> (Supervisor, VaultHandle) {
        let (root, vault) = open(&self.path(), master).await.expect("it opens");
        for record in 0..RECORDS {
            assert_eq!(number(&vault, &record.to_string()).await, record);
        }
        let written = number(&vault, "written").await;
        assert!(written >= self.acknowledged, "{} was promised", self.acknowledged);
        self.acknowledged = written;
        let seen = vault.inspect().await.expect("an inspection");
        assert_eq!(seen.quarantined, 0);
        (root, vault)
    }

    fn figures(&self) -> String {
        format!("{} acknowledged writes, 0 lost, 0 failed openings", self.acknowledged)
    }

    async fn refuses(&self, master: u8, because: &str) {
        let error = open(&self.path(), master).await.expect_err("refused");
        assert!(error.is_wrong_key() && error.to_string().contains(because), "{error}");
    }
}

#[tokio::test]
async fn killed_at_any_step_of_a_rotation_of_the_data_key_the_vault_goes_on_with_it() {
    if let Some(orders) = killing::orders() {
        return rotate_until_killed(orders).await;
    }
    let test = "killed_at_any_step_of_a_rotation_of_the_data_key_the_vault_goes_on_with_it";
    let mut scene = Scene::new(test, 1).await;
    let mut newest = 1;
    let steps = [
        ("data-key-asked", 0, false),
        ("data-key-durable", 0, true),
        ("records-sealed", 0, true),
        ("records-durable", 0, true),
        ("records-sealed", 2, true),
        ("records-durable", 2, true),
        ("sweep-done", 0, true),
        ("removal-asked", 0, true),
        ("removal-durable", 0, true),
    ];
    let rounds = killing::rounds(steps.len());
    for (step, passes, happened) in steps.into_iter().cycle().take(rounds) {
        scene.kill(1, None, step, passes);
        newest += u32::from(happened);

        let (root, vault) = scene.check(1).await;

        let left = loop {
            let keys = vault.inspect().await.expect("an inspection").data_keys;
            if keys.len() == 1 {
                break keys;
            }
        };
        assert_eq!((left[0].id, left[0].records), (newest, 201), "after {step}");
        close(root).await;
        close(scene.check(1).await.0).await;
    }
    println!("data key: {rounds} kills: {}", scene.figures());
}

#[tokio::test]
async fn killed_at_any_step_of_a_rotation_of_the_master_key_one_key_opens_and_the_other_is_told() {
    if let Some(orders) = killing::orders() {
        return rotate_until_killed(orders).await;
    }
    let test =
        "killed_at_any_step_of_a_rotation_of_the_master_key_one_key_opens_and_the_other_is_told";
    let mut scene = Scene::new(test, 1).await;
    let (not_yet, over) = ("the former key is the right one", "from before the last rotation");
    let mut present: u8 = 1;
    let steps = [
        ("master-key-asked", true, not_yet),
        // In between both open, and the one that is used stays.
        ("master-key-written", true, not_yet),
        ("master-key-written", false, over),
        ("master-key-opened", true, not_yet),
        ("master-key-opened", false, over),
        ("master-key-durable", false, over),
    ];
    let rounds = killing::rounds(steps.len());
    for (step, stays, told) in steps.into_iter().cycle().take(rounds) {
        let next = present.wrapping_add(1);
        scene.kill(present, Some(next), step, 0);

        let (used, other) = if stays { (present, next) } else { (next, present) };
        close(scene.check(used).await.0).await;

        scene.refuses(other, told).await;
        close(scene.check(used).await.0).await;
        present = used;
    }
    println!("master key: {rounds} kills: {}", scene.figures());
}

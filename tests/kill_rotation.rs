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
use tokenward::vault::audit::{Audit, AuditEntry, AuditKind, AuditMark};
use tokenward::vault::{
    Batch, Expect, MasterKey, RecordKey, RecordKind, Tags, Vault, VaultError, VaultHandle,
};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::killing::close;

/// Enough for several steps of a sweep, of records and of what the audit trail tells of them.
const RECORDS: u64 = 200;

/// Of so many changes one is recorded while a vault is killed, since the whole trail is read each time.
const RECORDED: u64 = 10;

/// More steps than any sweep takes here.
const MOST_LOOKS: usize = 10_000;

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
    let payload = Zeroizing::new(payload);
    let batch = Batch::new().put(key(name), payload, Expect::Anything, Tags::default());
    if number.is_multiple_of(RECORDED) { batch.record(refreshed()) } else { batch }
}

fn refreshed() -> AuditEntry {
    AuditEntry::new(AuditKind::Refreshed).user(&UserId::new("ada").expect("a name"))
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
    let (writing, (first, written)) = (vault.clone(), oneshot::channel::<()>());
    tokio::spawn(async move {
        let mut done = number(&writing, "written").await;
        let mut first = Some(first);
        loop {
            done += 1;
            writing.commit(put("written", done)).await.expect("durable");
            killing::acknowledge(done);
            if done.is_multiple_of(RECORDED) {
                drop(first.take());
            }
        }
    });
    // Closed when it has written a little.
    written.await.expect_err("nothing is sent");
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
    /// Where the audit trail ended.
    mark: Option<AuditMark>,
}

impl Scene {
    async fn new(test: &'static str, master: u8) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Self { folder, test, acknowledged: 0, mark: None };
        let (root, vault) = open(&scene.path(), master).await.expect("a vault");
        for record in 0..RECORDS {
            let batch = put(&record.to_string(), record).record(refreshed());
            vault.commit(batch).await.expect("durable");
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
        let audit = Audit::new(vault.clone());
        let report = match self.mark {
            Some(mark) => audit.verify_against(mark).await,
            None => audit.verify().await,
        };
        let report = report.expect("a verification");
        assert_eq!(report.finding, None);
        self.mark = Some(report.verified);
        (root, vault)
    }

    fn figures(&self) -> String {
        format!(
            "{} acknowledged writes, 0 lost, 0 failed openings, the audit trail verified each time",
            self.acknowledged
        )
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
        ("entries-sealed", 0, true),
        ("entries-durable", 0, true),
        ("entries-sealed", 2, true),
        ("entries-durable", 2, true),
        ("sweep-done", 0, true),
        ("removal-asked", 0, true),
        ("removal-durable", 0, true),
    ];
    let rounds = killing::rounds(steps.len());
    for (step, passes, happened) in steps.into_iter().cycle().take(rounds) {
        scene.kill(1, None, step, passes);
        newest += u32::from(happened);

        let (root, vault) = scene.check(1).await;

        let mut keys = vault.inspect().await.expect("an inspection").data_keys;
        let mut looks = 0;
        // A step of the sweep is done between two looks.
        while keys.len() > 1 {
            keys = vault.inspect().await.expect("an inspection").data_keys;
            looks += 1;
            assert!(looks < MOST_LOOKS, "after {step}: it comes to an end");
        }
        // The records, the one that is written, and the one that gives ada a name in the trail.
        let all = usize::try_from(RECORDS + 2).expect("small");
        assert_eq!((keys[0].id, keys[0].records), (newest, all), "after {step}");
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

//! A disk that is really full: a small file system in memory that the vault and a filler share. What
//! was acknowledged can be read while it is full, and writes go on when there is room again.
//!
//! The vault runs in a child process with a mount of its own, which needs no rights where the system
//! lets users have namespaces. Where it does not, this shows nothing and says so, or fails if
//! `TOKENWARD_FULL_DISK_REQUIRED` is set; the same is shown with faults on command in
//! `vault/tests/faults.rs`.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokenward::clock::Sources;
use tokenward::event::EventKind;
use tokenward::identity::UserId;
use tokenward::supervision::{EventBus, Events, Notice, Supervisor};
use tokenward::vault::{
    Batch, Engine, Expect, MasterKey, RecordKey, RecordKind, Tags, Vault, VaultError, VaultHandle,
};
use zeroize::Zeroizing;

/// Where the child finds its small file system.
const DISK: &str = "TOKENWARD_TEST_DISK";

/// Set where this has to be shown.
const REQUIRED: &str = "TOKENWARD_FULL_DISK_REQUIRED";

/// How long one engine may take. What is stuck is to fail.
const PATIENCE: Duration = Duration::from_mins(3);

const MEBIBYTE: usize = 1024 * 1024;

/// Mounts a file system of 32 MiB for one command alone.
const MOUNTED: &str = r#"mount -t tmpfs -o size=32m none "$TOKENWARD_TEST_DISK" && exec "$0" "$@""#;

async fn open(
    path: &Path,
    engine: Engine,
) -> Result<(Supervisor, VaultHandle, Events), VaultError> {
    let sources = Sources::system();
    let bus = EventBus::new(sources.clone());
    let events = bus.subscribe();
    let root = Supervisor::start("root", sources.clone(), bus.clone()).await.expect("a root");
    let handle = VaultHandle::start(settings(path, engine), &root, sources, bus).await?;
    Ok((root, handle, events))
}

fn settings(path: &Path, engine: Engine) -> Vault {
    let reserve = u64::try_from(4 * MEBIBYTE).expect("small");
    let vault = Vault::open(path).engine(engine).reserve(reserve);
    vault.master_key(MasterKey::from_bytes([7; 32]))
}

fn key(number: u32) -> RecordKey {
    let user = UserId::new("ada").expect("a name");
    RecordKey::new(RecordKind::Credential, user, number.to_string())
}

async fn put(vault: &VaultHandle, number: u32) -> Result<(), VaultError> {
    let payload = Zeroizing::new(vec![number.to_le_bytes()[0]; 20_000]);
    let batch = Batch::new().put(key(number), payload, Expect::Anything, Tags::default());
    vault.commit(batch).await
}

/// How many of the records up to `count` are there, whole.
async fn whole(vault: &VaultHandle, count: u32) -> u32 {
    let mut there = 0;
    for number in 0..count {
        let record = vault.read(&key(number)).await.expect("it can be read");
        let payload = record.map(|record| record.payload);
        let expected = vec![number.to_le_bytes()[0]; 20_000];
        there += u32::from(payload.is_some_and(|payload| *payload == expected));
    }
    there
}

async fn until(events: &mut Events, wanted: impl Fn(&EventKind) -> bool) {
    loop {
        match events.next().await.expect("the vault goes on") {
            Notice::Event(event) if wanted(&event.kind) => return,
            _ => {}
        }
    }
}

/// Fills the disk to its last byte.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    while file.write_all(&[7; 4096]).is_ok() {}
}

async fn on_a_full_disk(disk: &Path, engine: Engine) {
    let path = disk.join(engine.as_str());
    let (root, vault, mut events) = open(&path, engine).await.expect("a vault");
    for number in 0..20 {
        put(&vault, number).await.expect("there is room");
    }
    let filler = disk.join("filler");
    fill(&filler);
    let mut acknowledged = 20;
    let refused = loop {
        match put(&vault, acknowledged).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(refused.is_full(), "{engine}: {refused}");
    until(&mut events, |kind| matches!(kind, EventKind::VaultDegraded { .. })).await;
    // It is opened again at once; meanwhile it says that it can not be read.
    while vault.inspect().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(whole(&vault, acknowledged).await, acknowledged, "{engine}: reads go on");
    assert!(vault.inspect().await.expect("an inspection").refuses_writes);
    let refused = put(&vault, 1_000).await.expect_err("there is no room");
    assert!(refused.is_full(), "{engine}: {refused}");

    fs::remove_file(&filler).expect("removed");
    until(&mut events, |kind| *kind == EventKind::VaultRecovered).await;
    for number in acknowledged..acknowledged + 20 {
        put(&vault, number).await.expect("there is room again");
    }
    assert_eq!(whole(&vault, acknowledged + 20).await, acknowledged + 20);
    root.drain(Duration::from_secs(10)).await;
    let (root, vault, _events) = open(&path, engine).await.expect("a vault");
    assert_eq!(whole(&vault, acknowledged + 20).await, acknowledged + 20);
    root.drain(Duration::from_secs(10)).await;

    // Whoever only looks leaves the room to whoever writes.
    let reserve = || fs::metadata(path.join("reserve")).map(|found| found.len()).ok();
    let before = reserve();
    assert!(before.is_some_and(|bytes| bytes > 0));
    // sled makes a snapshot anew when it is opened, and finds no room for it.
    for entry in fs::read_dir(path.join("store")).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).expect("removed");
        }
    }
    fill(&filler);
    let seen = settings(&path, engine).inspect().await;
    let found_no_room = seen.is_err_and(|error| error.is_full());
    assert_eq!(found_no_room, engine == Engine::Sled, "redb is read without room");
    assert_eq!(reserve(), before, "{engine}");
    let (root, vault, _events) = open(&path, engine).await.expect("it has its reserve");
    assert_eq!(whole(&vault, acknowledged + 20).await, acknowledged + 20);
    root.drain(Duration::from_secs(10)).await;
    fs::remove_file(&filler).expect("removed");
    fs::remove_dir_all(&path).expect("removed");
    println!("{engine}: full after {acknowledged} acknowledged writes, 0 lost");
}

#[tokio::test]
async fn a_disk_that_is_really_full() {
    if let Some(disk) = std::env::var_os(DISK) {
        for engine in [Engine::Sled, Engine::Redb] {
            let shown = on_a_full_disk(Path::new(&disk), engine);
            tokio::time::timeout(PATIENCE, shown).await.expect("it comes to an end");
        }
        return;
    }
    let disk = tempfile::tempdir().expect("a directory");
    let can_mount = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED, "true"])
        .env(DISK, disk.path())
        .output();
    if !can_mount.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os(REQUIRED).is_none(), "nobody may mount a file system here");
        println!("NOT SHOWN: this system lets nobody mount a small file system");
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", "a_disk_that_is_really_full", "--nocapture"])
        .env(DISK, disk.path())
        .output()
        .expect("a child");
    let (said, failed) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{failed}");
    print!("{said}");
}

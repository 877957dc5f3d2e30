//! Copies that are put in their place: one at a time, and never within what they are made of.

use std::path::PathBuf;

use super::*;
use crate::vault::store::LockedDirectory;

/// A backup of a vault with this record.
async fn backed_up(folder: &Path, payload: &[u8]) -> PathBuf {
    let at = folder.join("backup");
    let running = Running::start(on_disk(&folder.join("lost"))).await.expect("a vault");
    running.vault.commit(put(&key("ada", "one"), payload, Expect::Absent)).await.expect("durable");
    running.vault.back_up(&at).await.expect("backed up");
    running.stop().await;
    at
}

/// The names of what is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries.map(|it| name(it).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_restorations_into_one_place_at_once_one_is_done_and_the_others_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let backup = backed_up(folder.path(), b"kept").await;
    for round in 0..5 {
        let place = folder.path().join(round.to_string());
        let restoring: Vec<_> = (0..4)
            .map(|_| {
                let (vault, backup) = (on_disk(&place), backup.clone());
                tokio::spawn(async move { vault.restore(backup).await })
            })
            .collect();
        let mut done = 0;
        for outcome in restoring {
            match outcome.await.expect("no panic") {
                Ok(()) => done += 1,
                // Of the place, or of the backup, which another is reading.
                Err(error) => assert!(error.is_in_use() || error.is_occupied(), "{error}"),
            }
        }
        assert_eq!(done, 1);
        assert_eq!(names(&place), ["agent.vault"], "nothing is left in the making");
        let running = Running::start(on_disk(&place)).await.expect("the vault");
        assert_eq!(payload(&running.vault, &key("ada", "one")).await, Some(b"kept".to_vec()));
        running.stop().await;
    }
}

#[tokio::test]
async fn what_another_process_puts_in_the_same_place_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let backup = backed_up(folder.path(), b"kept").await;
    let place = folder.path().join("place");
    let workshop = place.join("agent.vault.tokenward-unfinished");
    let others = LockedDirectory::take(&workshop).expect("it is free");
    std::fs::write(workshop.join("half"), "of a copy").expect("written");

    let running = Running::start(on_disk(&folder.path().join("lost"))).await.expect("a vault");
    let refused = running.vault.back_up(place.join("agent.vault")).await.expect_err("refused");
    assert!(refused.is_in_use(), "{refused}");
    running.stop().await;
    let refused = on_disk(&place).restore(&backup).await.expect_err("refused");
    assert!(refused.is_in_use(), "{refused}");
    assert_eq!(names(&workshop), ["half", "lock"], "it goes on undisturbed");

    // It dies, and what it leaves behind is nobody's.
    drop(others);
    on_disk(&place).restore(&backup).await.expect("restored");
    assert_eq!(names(&place), ["agent.vault"]);
}

#[tokio::test]
async fn a_backup_is_not_restored_into_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let backup = backed_up(folder.path(), b"kept").await;
    let before = names(&backup);
    let mut places = vec![backup.clone(), backup.join("deep").join("within")];
    places.push(backup.join("..").join("backup"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&backup, folder.path().join("another-name")).expect("a link");
        places.push(folder.path().join("another-name"));
    }
    for place in places {
        let refused = on_disk(&place).restore(&backup).await.expect_err("refused");
        assert!(refused.to_string().contains("within its own backup"), "{refused}");
        assert_eq!(names(&backup), before, "{}", place.display());
    }
    on_disk(folder.path()).restore(&backup).await.expect("a place outside");
}

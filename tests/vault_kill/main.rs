//! A vault on disk and processes that die: after `kill -9` at any moment of whatever can be done to it, all
//! that was acknowledged is there, what was under way is there whole or not at all, and a user that was
//! erased is gone.
//!
//! `TOKENWARD_SOAK_ROUNDS` is how often the process is killed on each engine; without it, a few times.
//! What is done is left to chance, and chance to a seed, which a failure tells: with it in
//! `TOKENWARD_SOAK_SEED` the same is done again, up to the moments at which it is killed.

mod child;
#[path = "../common/killing.rs"]
mod killing;
mod model;
mod work;

use std::fs::{remove_dir_all, remove_file};
use std::path::Path;
use std::time::Duration;

use tokenward::clock::Sources;
use tokenward::supervision::Supervisor;
use tokenward::vault::audit::{Audit, AuditKind, AuditMark, AuditQuery};
use tokenward::vault::{Query, RecordKind, VaultHandle};

use crate::child::{ENGINES, Orders, Told, passphrase, records, work_until_killed};
use crate::killing::Watched;
use crate::model::{Copied, Model, Recorded};
use crate::work::{Chance, USERS, user};

/// How often a child is killed on each engine, unless the environment says so.
const ROUNDS: usize = 6;

/// How often before there is a new vault: what makes one can be killed, too, and the trail of an old one
/// is long.
const ROUNDS_OF_A_VAULT: usize = 50;

#[tokio::test]
async fn whatever_was_acknowledged_survives_a_kill() {
    if let Some(orders) = killing::orders() {
        return work_until_killed(orders).await;
    }
    let wanted = std::env::var("TOKENWARD_SOAK_SEED").ok();
    let seed = wanted.map(|seed| seed.parse().expect("TOKENWARD_SOAK_SEED is a number"));
    let seed: u64 = seed.unwrap_or_else(|| Sources::system().noise());
    let rounds = killing::rounds(ROUNDS);
    for (number, engine) in ENGINES.into_iter().enumerate() {
        let (mut seed, mut left, mut total) = (seed, rounds, Model::new(1));
        while left > 0 {
            println!("{engine}: {left} rounds are left, TOKENWARD_SOAK_SEED={seed}");
            let times = ROUNDS_OF_A_VAULT.min(left);
            total.count(&kill_again_and_again(number, seed, times).await);
            (left, seed) = (left - times, seed.wrapping_add(1));
        }
        println!(
            "{engine}: {rounds} kills, acknowledged {:?}: 0 lost, 0 in part, 0 failed openings, the audit \
             trail verified each time; {} were durable and not acknowledged yet",
            total.counts, total.ahead
        );
    }
}

/// Kills a child in the middle of its work, `rounds` times, and looks into the vault after each.
async fn kill_again_and_again(engine: usize, seed: u64, rounds: usize) -> Model {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_owned();
    let mut model = Model::new(1);
    let mut mark = None;
    for round in 0..rounds {
        let master = model.master;
        let mut orders = Orders { folder: folder.clone(), engine, master, seed, round };
        let what = format!("{}, seed {seed}, round {round}", ENGINES[engine]);
        kill(&orders, &mut model);

        let (root, vault) = open(&mut orders, &mut model).await;
        let found = recorded(&vault).await;
        let mut contents = Vec::new();
        for user in 0..USERS {
            contents.push(records(&vault, user).await);
        }
        for copy in model.take_copies() {
            check_copy(&orders, &model, &copy, &what).await;
        }
        for (user, (records, recorded)) in contents.into_iter().zip(&found).enumerate() {
            let listed = listed(&vault, user, RecordKind::Credential).await;
            assert_eq!(listed, records.len(), "{what}: user {user}");
            model.settle(user, records, recorded).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
        mark = Some(verify(&vault, mark, &what).await);
        let inspection = vault.inspect().await.expect("an inspection");
        assert_eq!((inspection.quarantined, inspection.refuses_writes), (0, false), "{what}");
        killing::close(root).await;
    }
    model
}

/// Lets a child work for a while, from no time at all to some hundred operations, and kills it.
fn kill(orders: &Orders, model: &mut Model) {
    let chance = Chance::new(orders.seed, orders.round, USERS);
    let mut follow = |line: &str| {
        let told: Told = serde_json::from_str(line).expect("what a child tells");
        model.follow(orders, told);
    };
    let test = "whatever_was_acknowledged_survives_a_kill";
    let mut child = Watched::start(killing::child(test, orders));
    let lines = if chance.one_in(6) { 0 } else { chance.below(400) };
    for _ in 0..lines {
        follow(&child.next().expect("it goes on until it is killed"));
    }
    // Between two lines, too: while it starts, if it was to tell nothing.
    let longest = if lines == 0 { 60_000 } else { 3_000 };
    let last = child.next_within(Duration::from_micros(chance.below(longest)));
    last.into_iter().chain(child.kill()).for_each(|line| follow(&line));
}

/// Opens the vault with the master key that it has after a kill.
async fn open(orders: &mut Orders, model: &mut Model) -> (Supervisor, VaultHandle) {
    orders.master = model.master;
    let mut opened = orders.open().await;
    if let (Err(error), Some(next)) = (&opened, model.next_master)
        && error.is_wrong_key()
    {
        orders.master = next;
        opened = orders.open().await;
    }
    let (root, vault) =
        opened.unwrap_or_else(|error| panic!("{orders:?}: it opens after every kill: {error}"));
    model.settle_master(orders.master);
    (root, vault)
}

/// What the trail tells of each user.
async fn recorded(vault: &VaultHandle) -> Vec<Recorded> {
    let audit = Audit::new(vault.clone());
    let mut recorded = vec![Recorded::default(); USERS];
    let mut next = Some(AuditQuery::all().limit(1_000));
    while let Some(query) = next.take() {
        let page = audit.entries(query.clone()).await.expect("a page");
        assert_eq!(page.unreadable, Vec::<u64>::new());
        for entry in &page.entries {
            let of = (0..USERS).find(|number| entry.user.name() == Some(&user(*number)));
            let Some(of) = of else {
                assert_eq!(entry.user.name(), None, "nobody else has a name");
                continue;
            };
            let label = entry.label.as_ref().expect("a label").as_str();
            let operation = label.parse().expect("a number");
            match entry.kind {
                AuditKind::Refreshed => recorded[of].changes.push(operation),
                _ => recorded[of].notes.push(operation),
            }
        }
        next = page.next.map(|at| query.starting_at(at));
    }
    for (user, recorded) in recorded.iter_mut().enumerate() {
        recorded.identities = listed(vault, user, RecordKind::AuditIdentity).await;
    }
    recorded
}

/// How many records of a kind the vault lists of a user.
async fn listed(vault: &VaultHandle, number: usize, kind: RecordKind) -> usize {
    vault.list(Query::all(kind).of_user(user(number))).await.expect("a list").len()
}

/// Verifies the trail, and that it has what it had before.
async fn verify(vault: &VaultHandle, before: Option<AuditMark>, what: &str) -> AuditMark {
    let audit = Audit::new(vault.clone());
    let report = match before {
        Some(before) => audit.verify_against(before).await,
        None => audit.verify().await,
    };
    let report = report.expect("a verification");
    assert_eq!(report.finding, None, "{what}");
    report.verified
}

/// Opens a copy, if it is there, as it has to be when it was acknowledged: each user is in it as at one
/// moment while it was made.
async fn check_copy(orders: &Orders, model: &Model, copy: &Copied, what: &str) {
    let what = format!("{what}: {}", copy.path.display());
    let scratch = tempfile::tempdir().expect("a folder");
    let aside = Orders { folder: scratch.path().to_owned(), ..orders.clone() };
    let mut vault = aside.vault("copy", copy.masters[0]);
    if copy.is_backup {
        for master in &copy.masters {
            vault = aside.vault("copy", *master);
            match vault.restore(&copy.path).await {
                Err(error) if error.is_wrong_key() && Some(master) != copy.masters.last() => {}
                Err(error) if error.is_absent() && !copy.acknowledged => return,
                restored => {
                    restored.unwrap_or_else(|error| panic!("{what}: {error}"));
                    break;
                }
            }
        }
    } else if !copy.path.exists() {
        assert!(!copy.acknowledged, "{what}");
        return;
    } else if let Err(error) = vault.import(&copy.path, passphrase()).await {
        assert!(error.is_damaged() && !copy.acknowledged, "{what}: {error}");
        return;
    }
    let (root, vault) = killing::open(vault).await.expect("it opens");
    for user in 0..USERS {
        let found = records(&vault, user).await;
        assert!(model.may_hold(copy, user, &found), "{what}: user {user}: {found:?} {model:#?}");
    }
    verify(&vault, None, &what).await;
    killing::close(root).await;
    remove(&copy.path);
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { remove_dir_all(path) } else { remove_file(path) };
    removed.expect("removed");
}

/// C-RT-3: the vault is the lock across processes.
#[tokio::test]
async fn a_vault_that_another_process_has_open_says_so() {
    if let Some(orders) = killing::orders::<Orders>() {
        let opened = orders.open().await;
        assert!(opened.is_err_and(|error| error.is_in_use()), "the parent has it open");
        killing::acknowledge("refused");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    let orders = Orders { folder: path, engine: 0, master: 1, seed: 0, round: 0 };
    let (root, _vault) = orders.open().await.expect("a vault");
    let mut child =
        Watched::start(killing::child("a_vault_that_another_process_has_open_says_so", &orders));
    assert_eq!(child.next().as_deref(), Some("refused"));
    assert!(child.next().is_none());
    killing::close(root).await;
}

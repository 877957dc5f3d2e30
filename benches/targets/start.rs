//! How long it takes until there is an answer: from a vault that has to be opened, and from an actor that has
//! to be started again.

use std::cell::Cell;
use std::path::Path;

use ractor::Actor;
use tokenward::credential::ProviderMessage;
use tokenward::vault::{Query, RecordKind};

use crate::bare::{Bare, BareStore};
use crate::measure::{by_turns, micros, millis, now, timed_by_turns, tokio};
use crate::scale::{Alone, MANY, SOME, alone};
use crate::stock;
use crate::table::{Report, Row, thousands};

pub(crate) const ALONE: &[Alone] =
    &[("open-store", open_store), ("read-index", read_index), ("first-answer", first_answer)];

/// Turns of a start with some credentials, and of one with many.
const STARTS: u32 = 5;
const LONG_STARTS: u32 = 3;

/// Actors that crash.
const CRASHES: u32 = 500;

/// `some` is a vault with as many credentials.
pub(crate) async fn with_some(report: &mut Report, some: &Path) {
    let name =
        format!("start with {} credentials, first answer, over opening the store", thousands(SOME));
    starts(report, &name, STARTS, "open-store", some).await;
    crash(report, some).await;
}

/// `many` is a vault with as many credentials.
pub(crate) async fn with_many(report: &mut Report, many: &Path) {
    let name =
        format!("start with {} credentials, first answer, over reading the index", thousands(MANY));
    starts(report, &name, LONG_STARTS, "read-index", many).await;
}

/// Each start is one of a process.
async fn starts(report: &mut Report, name: &str, turns: u32, floor: &str, path: &Path) {
    let one = |what: &str| {
        let [seconds] = alone(what, path);
        seconds
    };
    let turns = report.turns(turns);
    let times = timed_by_turns(turns, async || one(floor), async || one("first-answer")).await;
    let [floor, figure] = times.map(millis);
    report.add(Row::new(name, "ms", figure).over(floor).ratio_at_most(3.0));
}

fn open_store(path: &Path) -> Vec<f64> {
    let began = now();
    let _store = BareStore::of_vault(path);
    vec![began.elapsed().as_secs_f64()]
}

fn read_index(path: &Path) -> Vec<f64> {
    let began = now();
    let store = BareStore::of_vault(path);
    assert!(store.entries() > MANY as usize);
    vec![began.elapsed().as_secs_f64()]
}

fn first_answer(path: &Path) -> Vec<f64> {
    tokio().block_on(async {
        let began = now();
        let (host, _provider) = stock::host(path).await;
        let credential = host.credential(&stock::id(4711)).await.expect("a credential");
        credential.acquire().await.expect("a token");
        assert!(credential.peek().is_some_and(|token| !token.headers().is_empty()));
        let took = began.elapsed().as_secs_f64();
        stock::close(host).await;
        vec![took]
    })
}

/// Kills an actor and asks it for what it holds, over a bare actor that is started and a read of the vault.
async fn crash(report: &mut Report, path: &Path) {
    let (host, _provider) = stock::host(path).await;
    let turns = report.turns(CRASHES);
    stock::start_actors(&host, turns).await;
    let entries = host.vault().list(Query::all(RecordKind::Credential)).await.expect("an index");
    let next = |counter: &Cell<u32>| counter.replace(counter.get() + 1);
    let (reads, crashes) = (Cell::new(0), Cell::new(0));
    let floor = async || {
        let (actor, _) = Actor::spawn(None, Bare, ()).await.expect("an actor");
        let key = &entries[next(&reads) as usize].key;
        assert!(host.vault().read(key).await.expect("readable").is_some());
        actor.stop(None);
    };
    let back = async || {
        // Each crashes once: whoever crashes again waits before it is started again.
        let id = stock::id(next(&crashes));
        let credential = host.credential(&id).await.expect("a credential");
        assert!(host.crash_actor(&format!("credentials/{id}")).await);
        let asked = credential.actor().ask_again(|reply| ProviderMessage::Inspect { reply });
        assert!(asked.await.expect("it is back").is_durable());
    };
    let [floor, figure] = by_turns(turns, 1, floor, back).await.map(micros);
    let name =
        "back after a crash of one actor, over starting a bare one and one read of the vault";
    report.add(Row::new(name, "µs", figure).over(floor).ratio_at_most(5.0));
    stock::close(host).await;
}

//! The tree as a whole: what is in it, what a fault in one part does to the others, and the one
//! part that takes the runtime down with it.

use std::task::Poll;
use std::time::Duration;

use tokenward::supervision::{ChildStatus, TreeNode};
use tokenward::testing::{SimulatedProvider, VaultFaults};

use crate::host::Host;
use crate::patience::in_time;

/// The paths of all that is beneath `node`, parts separated by a space since names have slashes.
fn paths(node: &TreeNode) -> Vec<String> {
    let mut all = vec![node.name.clone()];
    for child in &node.children {
        all.extend(paths(child).into_iter().map(|path| format!("{} {path}", node.name)));
    }
    all
}

#[tokio::test]
async fn the_tree_is_as_it_is_documented() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let login = host.runtime.user("bob").sign_in("anthropic").by_paste().await.expect("a sign-in");

    let tree = host.runtime.tree().await;

    let pending = format!("runtime logins login-{}", &login.id().as_str()[..8]);
    let expected = [
        "runtime",
        "runtime vault",
        "runtime timekeeper",
        "runtime sessions",
        "runtime credentials",
        "runtime credentials ada/openai/authorization-code",
        "runtime credentials bob/anthropic/authorization-code",
        "runtime health",
        "runtime logins",
        &pending,
    ];
    assert_eq!(paths(&tree), expected);
    assert_eq!(tree.status, ChildStatus::Running);
}

#[tokio::test]
async fn a_vault_that_crashes_comes_back_and_nothing_is_lost() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    assert!(host.runtime.crash_actor("vault").await);
    credential.refresh().await.expect("the vault is back");
    assert!(credential.snapshot().is_durable());
}

#[tokio::test]
async fn a_vault_that_can_not_come_back_stops_the_runtime_with_an_error() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let failing = tokio::spawn({
        let runtime = host.runtime.clone();
        async move { runtime.failed().await }
    });

    // The waits between restarts pass by hand, and all of them fit into the window in which
    // restarts are counted.
    let crashing = async {
        while !failing.is_finished() {
            host.runtime.crash_actor("vault").await;
            host.clock.advance(Duration::from_secs(2));
            tokio::task::yield_now().await;
        }
    };
    in_time(crashing).await;

    let error = failing.await.expect("no panic");
    assert!(!error.to_string().is_empty());
    credential.refresh().await.expect_err("there is no vault");
}

#[tokio::test]
async fn two_runtimes_live_in_one_process() {
    let (one, two) = (Host::start().await, Host::start().await);
    let of_one = one.sign_in_openai("ada").await;
    let of_two = two.sign_in_openai("ada").await;
    one.runtime.shutdown(Duration::from_secs(5)).await;
    of_two.refresh().await.expect("the other one goes on");
    assert!(of_one.refresh().await.expect_err("stopped").is_shutting_down());
}

#[tokio::test]
async fn a_runtime_that_is_dropped_gives_its_vault_back() {
    let Host { runtime, folder, openai, clock, .. } = Host::start().await;
    let path = folder.path().join("vault");
    drop(runtime);
    // The actors end on their own; the lock is free when they have.
    let starting = async {
        loop {
            let key = tokenward::MasterKey::from_bytes([7; 32]);
            let builder = tokenward::Runtime::builder()
                .sources(clock.sources())
                .vault(tokenward::Vault::open(&path).master_key(key))
                .provider(openai.spec());
            match builder.start().await {
                Ok(runtime) => break runtime,
                Err(error) if error.is_vault_in_use() => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let started = in_time(starting).await;
    started.shutdown(Duration::from_secs(5)).await;
}

/// As a host does that gives a start some time, and drops it then.
#[tokio::test]
async fn a_start_that_is_given_up_at_any_turn_gives_the_vault_back() {
    let openai = SimulatedProvider::openai().start().await.expect("a port");
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("vault");
    let (mut turns, mut given_up_with_the_vault_open) = (0, 0);
    let starting = async {
        loop {
            let key = tokenward::MasterKey::from_bytes([7; 32]);
            let vault = tokenward::Vault::open(&path).master_key(key);
            let (vault, disk) = VaultFaults::over(vault);
            let builder = tokenward::Runtime::builder().vault(vault).provider(openai.spec());
            match after(turns, builder.start()).await {
                Some(Ok(runtime)) => break runtime,
                Some(Err(error)) if error.is_vault_in_use() => tokio::task::yield_now().await,
                Some(Err(error)) => panic!("{error}"),
                None => {
                    turns += 1;
                    given_up_with_the_vault_open += usize::from(disk.calls() > 0);
                }
            }
        }
    };
    let started = in_time(starting).await;
    assert!(given_up_with_the_vault_open > 0, "of {turns} that were given up");
    started.shutdown(Duration::from_secs(5)).await;
}

/// What `work` comes to within so many turns; it is given up after them.
async fn after<T>(turns: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (Box::pin(work), turns);
    std::future::poll_fn(move |context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn every_problem_of_the_settings_is_told_at_once() {
    let error = tokenward::Runtime::builder().start().await.expect_err("nothing is set");
    assert!(error.is_configuration());
    let text = error.to_string();
    assert!(text.contains("vault (builder)") && text.contains("provider (builder)"), "{text}");
}

#[tokio::test]
async fn a_wrong_key_and_a_vault_in_use_are_told_apart() {
    let host = Host::start().await;
    let path = host.folder.path().join("vault");
    let open = |key: [u8; 32]| {
        tokenward::Runtime::builder()
            .vault(tokenward::Vault::open(&path).master_key(tokenward::MasterKey::from_bytes(key)))
            .provider(host.openai.spec())
            .start()
    };

    let in_use = open([7; 32]).await.expect_err("this process has it");
    assert!(in_use.is_vault_in_use(), "{in_use}");
    host.runtime.shutdown(Duration::from_secs(5)).await;
    let wrong_key = open([8; 32]).await.expect_err("another key");
    assert!(wrong_key.is_vault_locked(), "{wrong_key}");
    assert_ne!(in_use.to_string(), wrong_key.to_string());
}

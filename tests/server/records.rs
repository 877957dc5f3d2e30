//! What the server keeps in the vault: nobody's but its own, and never made anew while it is needed.

use std::time::Duration;

use tokenward::server::{ApplicationSpec, AuthorizationServer, RefreshPolicy};
use tokenward::testing::VaultFault;
use tokenward::vault::audit::{AuditKind, AuditQuery};
use tokenward::vault::{Batch, Expect, Query, RecordKind};

use crate::host::{FORM, Host, basic};
use crate::refresh::{register, tokens};

#[tokio::test]
async fn a_user_of_any_name_is_erased_without_a_record_of_the_server() {
    let mut host = Host::start().await;
    let application = host.register("memories:read").await;
    let id = application.application.id().as_str();
    let token = host.token(&application).await;
    for name in ["token-issuer", id] {
        host.runtime.user(name).erase().await.expect("erased");
    }
    let reserved = format!("tokenward:{id}");
    assert!(host.runtime.user(&reserved).erase().await.expect_err("no user").is_invalid_input());
    // Not even by the owner as the vault itself names it.
    for kind in [RecordKind::SigningKeys, RecordKind::Application] {
        let entries = host.runtime.vault().list(Query::all(kind)).await.expect("a list");
        let owner = &entries.first().expect("a record").key.user;
        assert!(host.runtime.vault().erase_user(owner).await.is_err(), "{owner}");
    }
    host.restart().await;
    assert_eq!(host.call(&token).await.status, 200, "the keys are there");
    assert_eq!(host.ask(&application, "").await.status, 200, "and so is the application");
}

#[tokio::test]
async fn keys_that_are_lost_are_an_error_and_never_made_anew_beneath_applications() {
    let host = Host::start().await;
    let application = host.register("memories:read").await;
    let vault = host.runtime.vault();
    let keys = vault.list(Query::all(RecordKind::SigningKeys)).await.expect("a list");
    let delete = Batch::new().delete(keys[0].key.clone(), Expect::Anything);
    vault.commit(delete).await.expect("deleted");

    let (runtime, _disk, host) = host.without_server().await;
    for _ in 0..2 {
        let error = host.server_on(&runtime).await.expect_err("the keys are lost").to_string();
        assert!(error.contains("restore a backup"), "{error}");
    }
    let keys = runtime.vault().list(Query::all(RecordKind::SigningKeys)).await.expect("a list");
    assert!(keys.is_empty(), "a new issuer would void every secret without a word");

    let erased = AuthorizationServer::erase(&runtime).await.expect("erased");
    assert_eq!(erased, 1, "the application");
    let server = host.server_on(&runtime).await.expect("begun anew");
    assert!(server.issuer().application(application.application.id()).is_none());
}

#[tokio::test]
async fn a_damaged_application_is_left_out_and_every_other_one_is_served() {
    let mut host = Host::start().await;
    let [damaged, other] = [host.register("a").await, host.register("a").await];
    let id = damaged.application.id();
    let records = host.records(RecordKind::Application).await;
    let record = records.iter().find(|record| record.name == id.as_str()).expect("a record");
    host.damage(record).await;
    for _ in 0..2 {
        host.restart().await;
        host.token(&other).await;
        assert_eq!(host.ask(&damaged, "").await.error(), "invalid_client");
        assert!(host.server.issuer().application(id).is_none());
    }

    // It is kept for who has a copy of it, and can be given up for a new one.
    let spec = ApplicationSpec::new("anew").permissions("a".parse().expect("a scope"));
    let spec = spec.id(id.clone());
    let again = || host.server.issuer().register(spec.clone());
    let error = again().await.expect_err("the damaged one is in its place");
    assert!(error.is_vault_unreadable() && !error.is_transient(), "{error}");
    assert!(error.to_string().contains(id.as_str()), "{error}");
    let vault = host.runtime.vault();
    let quarantined = vault.quarantined().await.expect("a list");
    assert_eq!(quarantined.len(), 1);
    // As an operator does who has copied it.
    let copied = quarantined[0].id.to_string();
    vault.discard(copied.parse().expect("an id")).await.expect("discarded");
    // There is nothing to remove any more, and none is recorded.
    let removed = host.server.issuer().remove(id).await;
    assert!(removed.expect_err("it is gone").is_not_found());
    let query = AuditQuery::all().of_kind(AuditKind::ApplicationRemoved);
    assert!(vault.read_audit(query).await.expect("a page").entries.is_empty());
    let anew = again().await.expect("its place is free");
    host.token(&anew).await;
    assert_eq!(host.ask(&damaged, "").await.error(), "invalid_client", "by the former secret");
}

#[tokio::test]
async fn keys_that_are_damaged_stop_the_start_for_good_and_a_copy_of_them_mends_it() {
    let host = Host::start().await;
    let application = host.register("a").await;
    let keys = host.records(RecordKind::SigningKeys).await;
    host.damage(&keys[0]).await;
    let (runtime, disk, host) = host.without_server().await;
    for _ in 0..2 {
        let error = host.server_on(&runtime).await.expect_err("the keys are damaged");
        assert!(error.is_vault_unreadable() && !error.is_transient(), "{error}");
    }
    runtime.shutdown(Duration::from_secs(10)).await;
    // As a copy of the vault does that was made before.
    disk.heal();
    let mut host = host;
    host.restart().await;
    host.token(&application).await;
}

#[tokio::test]
async fn what_is_over_is_removed_although_some_of_it_is_damaged() {
    let mut host = Host::start().await;
    let policy = RefreshPolicy::new().idle(Duration::from_hours(1));
    let application = register(&host, "a", policy).await;
    let kinds = [RecordKind::TokenFamily, RecordKind::RevokedToken];
    let mut given_back = String::new();
    for _ in 0..3 {
        let (access, _) = tokens(&host.ask(&application, "").await);
        let headers = [&FORM, &("authorization", &*basic(&application))];
        let revoked = host.post("/auth/revoke", &headers, &format!("token={access}")).await;
        assert_eq!(revoked.status, 200);
        given_back = access;
    }
    for kind in kinds {
        let records = host.records(kind).await;
        assert_eq!(records.len(), 3, "{kind}");
        host.damage(&records[0]).await;
    }
    host.restart().await;
    assert_eq!(host.call(&given_back).await.status, 401, "what is denied stays denied");

    host.clock.advance(Duration::from_hours(2));
    for kind in kinds {
        let swept = async {
            while !host.records(kind).await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), swept).await.expect("they are over");
    }
    let left = host.runtime.vault().quarantined().await.expect("a list");
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_start_that_failed_can_be_tried_again() {
    let host = Host::start().await;
    let (runtime, disk, host) = host.without_server().await;
    AuthorizationServer::erase(&runtime).await.expect("erased");
    disk.set(VaultFault::NoRoom);
    assert!(host.server_on(&runtime).await.is_err(), "there is no room for the keys");
    disk.heal();
    let starting = async {
        loop {
            match host.server_on(&runtime).await {
                Ok(server) => return server,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            host.clock.advance(Duration::from_secs(1));
        }
    };
    let server = tokio::time::timeout(Duration::from_mins(2), starting).await.expect("in time");
    assert!(server.issuer().applications().is_empty());
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_is_undone() {
    let host = Host::start().await;
    let (runtime, disk, host) = host.without_server().await;
    AuthorizationServer::erase(&runtime).await.expect("erased");
    disk.hold();
    tokio::select! {
        _ = host.server_on(&runtime) => panic!("its keys are not durable"),
        () = disk.until_held() => {}
    }
    disk.release();
    let starting = async {
        while let Err(error) = host.server_on(&runtime).await {
            assert!(error.to_string().contains("token-issuer"), "it is being undone: {error}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), starting).await.expect("in time");
}

#[test]
fn a_start_that_is_dropped_outside_of_its_runtime_is_undone_too() {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let executor = executor.expect("an executor");
    let (runtime, _disk, host) = executor.block_on(async {
        let (runtime, disk, host) = Host::start().await.without_server().await;
        AuthorizationServer::erase(&runtime).await.expect("erased");
        (runtime, disk, host)
    });
    let mut start = Box::pin(host.server_on(&runtime));
    executor.block_on(async {
        tokio::select! {
            biased;
            _ = &mut start => panic!("its keys are not durable"),
            () = std::future::ready(()) => {}
        }
        let keys = || runtime.vault().list(Query::all(RecordKind::SigningKeys));
        while keys().await.expect("a list").is_empty() {}
        // From here it is some turns until the server is there, and waits to be taken.
        for _ in 0..1_000 {
            keys().await.expect("a list");
        }
    });
    drop(start);
    executor.block_on(async {
        let starting = async {
            while let Err(error) = host.server_on(&runtime).await {
                assert!(error.to_string().contains("token-issuer"), "it is being undone: {error}");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), starting).await.expect("in time");
    });
}

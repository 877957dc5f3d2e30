//! Vaults on the disk with many credentials, made of one real sign-in: what it left in the vault is put
//! under as many names.

use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokenward::testing::SimulatedProvider;
use tokenward::vault::{Batch, Expect, Query, RecordKey, RecordKind};
use tokenward::{CredentialId, Label, Method, ProviderId, Runtime, UserId, Vault};

use crate::vault::master_key;

/// Accounts of one user.
const ACCOUNTS: u32 = 4;

/// Records in a batch, and batches under way at once.
const BATCH: u32 = 250;
const AT_ONCE: usize = 8;

/// So long that no token of a vault is due while it is measured.
const LIFETIME: Duration = Duration::from_hours(24);

/// A runtime over the vault at `path`, and the provider of its credentials.
pub(crate) async fn host(path: &Path) -> (Runtime, SimulatedProvider) {
    let provider = SimulatedProvider::orange().token_lifetime(LIFETIME);
    let provider = provider.start().await.expect("a port");
    let vault = Vault::open(path).master_key(master_key());
    let host = Runtime::builder().vault(vault).provider(provider.spec()).start().await;
    (host.expect("a runtime"), provider)
}

pub(crate) async fn close(host: Runtime) {
    let unfinished = host.shutdown(Duration::from_mins(1)).await;
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

/// Makes a vault at `path` with `count` credentials.
pub(crate) async fn fill(path: &Path, count: u32) {
    let (host, _provider) = host(path).await;
    let first = host.user("ada").sign_in("orange").with_client_credentials().await;
    let first = first.expect("signed in");
    let entries = host.vault().list(Query::all(RecordKind::Credential)).await.expect("an index");
    let [entry] = entries.as_slice() else { panic!("one credential, not {}", entries.len()) };
    let record = host.vault().read(&entry.key).await.expect("readable").expect("there");
    let batches = (0..count).step_by(BATCH as usize).map(|begin| {
        let numbers = begin..count.min(begin + BATCH);
        numbers.fold(Batch::new(), |batch, number| {
            let (payload, tags) = (record.payload.clone(), entry.tags.clone());
            let key = key_like(&entry.key, &first, number);
            batch.put(key, payload, Expect::Absent, tags)
        })
    });
    let vault = host.vault();
    let commit = async |batch| vault.commit(batch).await.expect("durable");
    stream::iter(batches).for_each_concurrent(AT_ONCE, commit).await;
    close(host).await;
}

/// The name of a credential of such a vault.
pub(crate) fn id(number: u32) -> CredentialId {
    CredentialId {
        user: UserId::new(&format!("user-{:06}", number / ACCOUNTS)).expect("a name"),
        provider: ProviderId::new("orange").expect("a name"),
        method: Method::ClientCredentials,
        label: Label::new(&format!("account-{}", number % ACCOUNTS)).expect("a name"),
    }
}

/// The key of the record of [`id`], by the `key` of the credential `of`.
fn key_like(key: &RecordKey, of: &CredentialId, number: u32) -> RecordKey {
    let id = id(number);
    let name = key.name.replace(of.label.as_str(), id.label.as_str());
    RecordKey::new(RecordKind::Credential, id.user, name)
}

/// Starts the actors of the first `count` credentials, and waits until each has its token.
pub(crate) async fn start_actors(host: &Runtime, count: u32) {
    let start = async |number| {
        let credential = host.credential(&id(number)).await.expect("a credential");
        assert!(credential.acquire().await.is_ok());
    };
    stream::iter(0..count).for_each_concurrent(64, start).await;
}

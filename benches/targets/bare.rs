//! The floors: what a host would have at least, without this crate.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};

/// The bytes of a record: a credential with its tokens.
pub(crate) const PAYLOAD: usize = 1024;

/// What sealing adds to a record, and an index entry beside it, so that the floor writes as much.
const INDEX_ENTRY: usize = 350;

/// A reqwest client as a host has one, for plain text to loopback.
pub(crate) fn client() -> reqwest::Client {
    client_builder().build().expect("a client")
}

/// The same with more to be said.
pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("ring offers them")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls)
}

/// An actor that answers, and has nothing else to do.
pub(crate) struct Bare;

type Question = RpcReplyPort<Arc<u64>>;

#[ractor::actor(message = Question, state = Arc<u64>)]
impl Bare {
    async fn pre_start(
        &self,
        _: ActorRef<Question>,
        (): (),
    ) -> Result<Arc<u64>, ActorProcessingErr> {
        Ok(Arc::default())
    }

    async fn handle(
        &self,
        _: ActorRef<Question>,
        reply: Question,
        state: &mut Arc<u64>,
    ) -> Result<(), ActorProcessingErr> {
        let _ = reply.send(state.clone());
        Ok(())
    }
}

/// sled as it would be used without a vault: batches, a flush, and a barrier of one's own.
pub(crate) struct BareStore {
    db: sled::Db,
    file: File,
}

impl BareStore {
    pub(crate) fn open(path: &Path) -> Self {
        // As the vault opens it.
        let config = sled::Config::new().path(path).cache_capacity(64 * 1024 * 1024);
        let db = config.open().expect("sled");
        let file = OpenOptions::new().write(true).open(path.join("db")).expect("its file");
        Self { db, file }
    }

    /// What a vault in the directory at `path` has in its store, as it is.
    pub(crate) fn of_vault(path: &Path) -> Self {
        Self::open(&path.join("store"))
    }

    /// Reads every index entry of a vault, and says how many there are.
    pub(crate) fn entries(&self) -> usize {
        self.db.scan_prefix(b"\0i").map(|entry| assert!(entry.is_ok())).count()
    }

    /// Writes as many items and bytes as the vault does for `numbers`: record, index entry, and head.
    pub(crate) fn commit(&self, numbers: impl Iterator<Item = u32>) {
        let mut batch = sled::Batch::default();
        for number in numbers {
            batch.insert(&key(b'r', number)[..], vec![7; PAYLOAD + INDEX_ENTRY]);
            batch.insert(&key(b'i', number)[..], vec![7; INDEX_ENTRY]);
        }
        batch.insert(b"h", vec![7; 150]);
        self.db.apply_batch(batch).expect("applied");
        self.db.flush().expect("flushed");
        self.file.sync_data().expect("a barrier");
    }

    /// Reads a record, and says whether it was there.
    pub(crate) fn holds(&self, number: u32) -> bool {
        self.db.get(key(b'r', number)).expect("a read").is_some()
    }
}

/// As long as a blinded name, and as scattered.
fn key(kind: u8, number: u32) -> Vec<u8> {
    let scattered = u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    [&[kind], &scattered.to_be_bytes()[..], &scattered.to_le_bytes()].concat()
}

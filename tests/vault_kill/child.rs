//! What is killed: a process with a vault, in which every user does at random what can be done. It
//! announces what it begins with and says when that is done.

use std::path::PathBuf;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokenward::Secret;
use tokenward::clock::Sources;
use tokenward::identity::Label;
use tokenward::supervision::Supervisor;
use tokenward::vault::audit::{AuditEntry, AuditKind};
use tokenward::vault::{
    Batch, Engine, Expect, ExportFile, MasterKey, RecordVersion, Tags, Vault, VaultError,
    VaultHandle,
};
use tokio::sync::Mutex;

use crate::killing;
use crate::work::{Chance, Content, Records, USERS, Work, key, names, user};

pub(crate) const ENGINES: [Engine; 2] = [Engine::Sled, Engine::Redb];

/// What a child works with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) folder: PathBuf,
    pub(crate) engine: usize,
    pub(crate) master: u8,
    /// What decides everything that is left to chance, and how often this vault was killed before.
    pub(crate) seed: u64,
    pub(crate) round: usize,
}

/// What a child tells, of a user.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// That it begins with this, as the operation of this number.
    Begun(usize, u64, Work),
    /// That it is done, durably.
    Done(usize),
}

impl Orders {
    /// The vault in the folder of this name, beneath the folder of this vault.
    pub(crate) fn vault(&self, name: &str, master: u8) -> Vault {
        let key = MasterKey::from_bytes([master; 32]);
        let engine = ENGINES[self.engine];
        Vault::open(self.folder.join(name)).engine(engine).master_key(key).reserve(1 << 16)
    }

    pub(crate) async fn open(&self) -> Result<(Supervisor, VaultHandle), VaultError> {
        killing::open(self.vault("agent.vault", self.master)).await
    }

    pub(crate) fn export(&self, operation: u64) -> PathBuf {
        self.folder.join(format!("export {operation}"))
    }

    pub(crate) fn backup(&self, operation: u64) -> PathBuf {
        self.folder.join(format!("backup {operation}"))
    }

    /// The operations of this round have numbers from here on, which no other has.
    fn first_operation(&self, user: usize) -> u64 {
        u64::try_from((self.round * USERS + user + 1) * 100_000).expect("small")
    }
}

pub(crate) fn next_master(master: u8) -> u8 {
    master.wrapping_add(1)
}

pub(crate) fn passphrase() -> Secret {
    Secret::new("correct horse battery staple")
}

/// What the vault holds of a user.
pub(crate) async fn records(vault: &VaultHandle, user: usize) -> Records {
    let mut records = Records::new();
    for name in names() {
        let record = vault.read(&key(user, name)).await.expect("it opens");
        records.extend(record.map(|it| (name, Content::of(&it.payload, user, name))));
    }
    records
}

/// Works without end. The parent kills it.
pub(crate) async fn work_until_killed(orders: Orders) {
    let (_root, vault) = orders.open().await.expect("a vault");
    let master = Mutex::new(orders.master);
    let users = (0..USERS).map(async |user| {
        let chance = Chance::new(orders.seed, orders.round, user);
        let records = records(&vault, user).await;
        let (orders, vault, master) = (&orders, &vault, &master);
        Worker { orders, vault, master, user, records }.work(chance).await;
    });
    join_all(users).await;
}

/// A user at work.
struct Worker<'a> {
    orders: &'a Orders,
    vault: &'a VaultHandle,
    /// The master key, and the right to exchange it.
    master: &'a Mutex<u8>,
    user: usize,
    /// What this user has, by what was acknowledged.
    records: Records,
}

impl Worker<'_> {
    async fn work(mut self, chance: Chance) {
        for operation in self.orders.first_operation(self.user).. {
            let work = Work::random(&chance);
            let begin = || tell(&Told::Begun(self.user, operation, work.clone()));
            if let Work::RotateMasterKey = work {
                let mut master = self.master.lock().await;
                begin();
                *master = next_master(*master);
                let key = MasterKey::from_bytes([*master; 32]);
                self.vault.rotate_master_key(key).await.expect("rotated");
                tell(&Told::Done(self.user));
            } else {
                begin();
                self.carry_out(operation, &work).await;
                tell(&Told::Done(self.user));
            }
            self.records = work.apply(operation, &self.records);
        }
    }

    async fn carry_out(&self, operation: u64, work: &Work) {
        match work {
            Work::Change { to, expecting_versions } => {
                let mut batch = Batch::new().record(self.entry(AuditKind::Refreshed, operation));
                let after = work.apply(operation, &self.records);
                for name in to.keys() {
                    let expect = if *expecting_versions {
                        self.standing(*name).await
                    } else {
                        Expect::Anything
                    };
                    batch = self.step(batch, *name, &after, expect);
                }
                self.vault.commit(batch).await.expect("durable");
            }
            Work::Conflict(to) => {
                let mut batch = Batch::new().record(self.entry(AuditKind::Refreshed, operation));
                let change = Work::Change { to: to.clone(), expecting_versions: false };
                let after = change.apply(operation, &self.records);
                for (at, name) in to.keys().enumerate() {
                    let expect = match (at, self.standing(*name).await) {
                        (0, Expect::Version(version)) if operation.is_multiple_of(2) => {
                            Expect::Version(RecordVersion(version.0 - 1))
                        }
                        (0, Expect::Version(_)) => Expect::Absent,
                        (0, _) => Expect::Version(RecordVersion(1)),
                        (_, right) => right,
                    };
                    batch = self.step(batch, *name, &after, expect);
                }
                let outcome = self.vault.commit(batch).await;
                assert!(outcome.is_err_and(|error| error.is_conflict()), "it is refused");
            }
            Work::Read => assert_eq!(records(self.vault, self.user).await, self.records),
            Work::Note => self.vault.note(self.entry(AuditKind::AccessDenied, operation)),
            Work::RotateDataKey => self.vault.rotate_data_key().await.expect("rotated"),
            Work::RotateMasterKey => unreachable!("one after the other"),
            Work::Export => {
                let (path, sources) = (self.orders.export(operation), Sources::system());
                let to = ExportFile::create(path, passphrase(), &sources).await.expect("a file");
                let exported = self.vault.export(to).await.expect("exported");
                assert_eq!(exported.left_out, 0);
            }
            Work::BackUp => {
                self.vault.back_up(self.orders.backup(operation)).await.expect("backed up");
            }
            Work::Erase => {
                let erased = self.vault.erase_user(&user(self.user)).await.expect("erased");
                assert!(erased >= self.records.len(), "every record was there");
            }
        }
    }

    /// What stands under `name`, as an expectation; it is what was acknowledged.
    async fn standing(&self, name: u8) -> Expect {
        let record = self.vault.read(&key(self.user, name)).await.expect("it opens");
        let content = record.as_ref().map(|it| Content::of(&it.payload, self.user, name));
        assert_eq!(content.as_ref(), self.records.get(&name));
        record.map_or(Expect::Absent, |record| Expect::Version(record.version))
    }

    fn step(&self, batch: Batch, name: u8, after: &Records, expect: Expect) -> Batch {
        let key = key(self.user, name);
        match after.get(&name) {
            Some(content) => {
                batch.put(key, content.payload(self.user, name), expect, Tags::default())
            }
            None => batch.delete(key, expect),
        }
    }

    fn entry(&self, kind: AuditKind, operation: u64) -> AuditEntry {
        let label = Label::new(&operation.to_string()).expect("a name");
        AuditEntry::new(kind).user(&user(self.user)).label(&label)
    }
}

fn tell(what: &Told) {
    killing::acknowledge(serde_json::to_string(what).expect("text"));
}

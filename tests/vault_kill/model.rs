//! What a vault has to hold, from what a child told before it was killed: for each user what was
//! acknowledged, or that and what was under way, whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::child::{Orders, Told, next_master};
use crate::work::{Records, USERS, Work};

/// What the trail says of a user by name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The operations that changed something.
    pub(crate) changes: Vec<u64>,
    /// The operations that noted something.
    pub(crate) notes: Vec<u64>,
    /// How many records give the user a name in the trail.
    pub(crate) identities: usize,
}

/// A user, by what was acknowledged.
#[derive(Debug)]
struct User {
    /// The records after each operation of this round, from those before the first on.
    states: Vec<Records>,
    /// The operations that the trail tells of.
    changes: Vec<u64>,
    /// The operation that erased the user last.
    erased: u64,
    under_way: Option<(u64, Work)>,
}

impl User {
    fn last(&self) -> &Records {
        self.states.last().expect("the first")
    }
}

/// An export or a backup.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) path: PathBuf,
    pub(crate) is_backup: bool,
    pub(crate) acknowledged: bool,
    /// The master keys that the vault had while it was made.
    pub(crate) masters: Vec<u8>,
    user: usize,
    /// For each user, the first and the last of the states that may stand in it.
    states: Vec<(usize, usize)>,
}

/// What is known of a vault.
#[derive(Debug)]
pub(crate) struct Model {
    users: Vec<User>,
    /// The master key, and the one that it may have instead.
    pub(crate) master: u8,
    pub(crate) next_master: Option<u8>,
    copies: Vec<Copied>,
    /// How often each kind of work was acknowledged.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// What was durable although it had not been acknowledged yet.
    pub(crate) ahead: u64,
}

impl Model {
    /// Of a vault in which nothing is.
    pub(crate) fn new(master: u8) -> Self {
        let user = |_| User {
            states: vec![Records::new()],
            changes: Vec::new(),
            erased: 0,
            under_way: None,
        };
        let users = (0..USERS).map(user).collect();
        Self {
            users,
            master,
            next_master: None,
            copies: Vec::new(),
            counts: BTreeMap::new(),
            ahead: 0,
        }
    }

    /// Follows what a child told.
    pub(crate) fn follow(&mut self, orders: &Orders, told: Told) {
        match told {
            Told::Begun(user, operation, work) => {
                match work {
                    Work::RotateMasterKey => {
                        let next = next_master(self.master);
                        self.next_master = Some(next);
                        let under_way = self.copies.iter_mut().filter(|copy| !copy.acknowledged);
                        under_way.for_each(|copy| copy.masters.push(next));
                    }
                    Work::Export => self.begin_copy(user, orders.export(operation), false),
                    Work::BackUp => self.begin_copy(user, orders.backup(operation), true),
                    _ => {}
                }
                self.users[user].under_way = Some((operation, work));
            }
            Told::Done(number) => {
                let user = &mut self.users[number];
                let (operation, work) = user.under_way.take().expect("it was begun");
                user.states.push(work.apply(operation, user.last()));
                match work {
                    Work::Change { .. } => user.changes.push(operation),
                    Work::Erase => (user.changes, user.erased) = (Vec::new(), operation),
                    Work::RotateMasterKey => {
                        self.master = self.next_master.take().expect("it was begun");
                    }
                    Work::Export | Work::BackUp => self.end_copy(number),
                    _ => {}
                }
                *self.counts.entry(work.name()).or_default() += 1;
            }
        }
    }

    fn begin_copy(&mut self, user: usize, path: PathBuf, is_backup: bool) {
        let states = self.users.iter().map(|user| (user.states.len() - 1, usize::MAX)).collect();
        let masters = [self.master].into_iter().chain(self.next_master).collect();
        let copy = Copied { path, is_backup, acknowledged: false, masters, user, states };
        self.copies.push(copy);
    }

    fn end_copy(&mut self, user: usize) {
        let mut copies = self.copies.iter_mut();
        let copy = copies.find(|copy| copy.user == user && !copy.acknowledged).expect("begun");
        copy.acknowledged = true;
        for (state, user) in copy.states.iter_mut().zip(&self.users) {
            // What was under way then may be in it.
            state.1 = user.states.len();
        }
    }

    /// Whether `found` is what stands in `copy` when it was made while it said so.
    pub(crate) fn may_hold(&self, copy: &Copied, user: usize, found: &Records) -> bool {
        let (first, last) = copy.states[user];
        let user = &self.users[user];
        let under_way = user.under_way.as_ref();
        let next = under_way.map(|(operation, work)| work.apply(*operation, user.last()));
        let states = user.states.iter().chain(&next).enumerate();
        let mut at_the_time = states.filter(|(at, _)| (first..=last).contains(at));
        at_the_time.any(|(_, state)| state == found)
    }

    /// The exports and backups of this round.
    pub(crate) fn take_copies(&mut self) -> Vec<Copied> {
        std::mem::take(&mut self.copies)
    }

    /// Goes on from what was found of a user after a kill, or says why that can not be.
    pub(crate) fn settle(
        &mut self,
        number: usize,
        found: Records,
        recorded: &Recorded,
    ) -> Result<(), String> {
        let user = &mut self.users[number];
        let under_way = user.under_way.take();
        let acknowledged = (user.last().clone(), user.changes.clone(), user.erased);
        let mut possible = vec![acknowledged];
        match &under_way {
            Some((operation, work @ Work::Change { .. })) => {
                let mut changes = user.changes.clone();
                changes.push(*operation);
                possible.push((work.apply(*operation, user.last()), changes, user.erased));
            }
            Some((operation, Work::Erase)) => {
                possible.push((Records::new(), Vec::new(), *operation));
            }
            _ => {}
        }
        let holds = |(records, changes, erased): &(Records, Vec<u64>, u64)| {
            *records == found
                && *changes == recorded.changes
                && recorded.notes.iter().all(|operation| operation > erased)
        };
        let Some(at) = possible.iter().position(holds) else {
            return Err(format!(
                "user {number}: {found:?} and {recorded:?}, and under way was {under_way:?}; what is \
                 possible: {possible:#?}"
            ));
        };
        let names = usize::from(!recorded.changes.is_empty() || !recorded.notes.is_empty());
        if recorded.identities != names {
            return Err(format!("user {number}: {recorded:?}, and {names} names are used"));
        }
        self.ahead += u64::from(at > 0);
        let (_, changes, erased) = possible.swap_remove(at);
        *user = User { states: vec![found], changes, erased, under_way: None };
        Ok(())
    }

    /// Counts what another one did.
    pub(crate) fn count(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.ahead += other.ahead;
    }

    /// The master key that the vault has.
    pub(crate) fn settle_master(&mut self, master: u8) {
        self.ahead += u64::from(master != self.master);
        (self.master, self.next_master) = (master, None);
    }
}

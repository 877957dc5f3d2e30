//! Every span of a thread, or of a process, with what stands above it and its fields.

#![allow(dead_code, reason = "each test uses its own part of this")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::Subscriber;
use tracing::dispatcher::DefaultGuard;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// A span as it was opened, with all that was recorded of it since.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) number: u64,
    pub(crate) name: &'static str,
    /// The module that opened it.
    pub(crate) target: &'static str,
    /// It and all above it, the innermost first: by number.
    pub(crate) within: Vec<u64>,
    pub(crate) follows: Vec<u64>,
    pub(crate) fields: Fields,
}

/// The fields of a span by their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(BTreeMap<&'static str, String>);

/// Every span that was opened. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    /// In their order.
    opened: Vec<Opened>,
    /// Those that are open, by number. An id is given again once its span is closed.
    numbers: HashMap<Id, u64>,
}

impl Opened {
    pub(crate) fn is_within(&self, outer: &Self) -> bool {
        self.within.contains(&outer.number)
    }

    /// The value of a field, which has to be there.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.0.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// The names of its fields, in their alphabetical order.
    pub(crate) fn field_names(&self) -> Vec<&'static str> {
        self.fields.0.keys().copied().collect()
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Record {
    /// Of every span of this process from now on.
    pub(crate) fn start() -> Self {
        let record = Self::default();
        let subscriber = tracing_subscriber::registry().with(record.clone());
        tracing::subscriber::set_global_default(subscriber).expect("the only one of this process");
        record
    }

    /// Of every span of this thread, for as long as the guard is held.
    pub(crate) fn of_this_thread() -> (Self, DefaultGuard) {
        let record = Self::default();
        let subscriber = tracing_subscriber::registry().with(record.clone());
        (record, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn named(&self, name: &str) -> Vec<Opened> {
        self.all().into_iter().filter(|span| span.name == name).collect()
    }

    /// Those that this crate opened.
    pub(crate) fn ours(&self) -> Vec<Opened> {
        self.all().into_iter().filter(|span| span.target.starts_with("tokenward::")).collect()
    }

    fn all(&self) -> Vec<Opened> {
        self.0.lock().expect("not poisoned").opened.clone()
    }
}

impl Inside {
    fn open(&mut self, id: &Id) -> Option<&mut Opened> {
        let number = self.numbers.get(id)?;
        self.opened.get_mut(usize::try_from(*number).expect("an index"))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Record {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut inside = self.0.lock().expect("not poisoned");
        let Inside { opened, numbers } = &mut *inside;
        let number = opened.len() as u64;
        numbers.insert(id.clone(), number);
        let within = context.span(id).map_or_else(Vec::new, |span| {
            span.scope().filter_map(|span| numbers.get(&span.id()).copied()).collect()
        });
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let (name, target) = (attributes.metadata().name(), attributes.metadata().target());
        opened.push(Opened { number, name, target, within, follows: Vec::new(), fields });
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, _: Context<'_, S>) {
        let mut inside = self.0.lock().expect("not poisoned");
        if let Some(span) = inside.open(id) {
            values.record(&mut span.fields);
        }
    }

    fn on_follows_from(&self, span: &Id, follows: &Id, _: Context<'_, S>) {
        let mut inside = self.0.lock().expect("not poisoned");
        let follows = inside.numbers.get(follows).copied();
        if let (Some(follows), Some(span)) = (follows, inside.open(span)) {
            span.follows.push(follows);
        }
    }
}

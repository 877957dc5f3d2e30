//! Remembers some things at a Memory Bank, finds them again, and shows what becomes of a call when
//! the bank is unwell.
//!
//!     cargo run --example memory_bank
//!
//! runs at once, against a simulated bank on this machine. It prints, among other things:
//!
//!     search tea            2 found
//!                           1.00  The tea is in the blue tin             [kitchen]
//!                           1.00  Ada drinks green tea in the morning    [taste]
//!     lost answer           sent again under the same key: the bank has it once
//!
//! With `--real` it uses yours, as the environment configures it, creates one memory there, finds
//! it, and deletes it:
//!
//!     export MEMORY_BANK_URL=https://memory.example
//!     export MEMORY_BANK_CLIENT_ID=… MEMORY_BANK_CLIENT_SECRET=…
//!     cargo run --example memory_bank -- --real

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures_util::TryStreamExt as _;
use tokenward::service::memory_bank::{Hit, Memory, MemoryBank, NewMemory, Search};
use tokenward::testing::{Endpoint, Fault, SimulatedProvider};
use tokenward::{Runtime, RuntimeBuilder, Settings, Vault};

/// What the real bank takes from the environment.
const NEEDED: [(&str, &str); 3] = [
    ("MEMORY_BANK_URL", "where the bank is, such as https://memory.example"),
    ("MEMORY_BANK_CLIENT_ID", "the client that it has registered for you"),
    ("MEMORY_BANK_CLIENT_SECRET", "the secret of that client"),
];

/// What is remembered, and under which tag.
const MEMORIES: [(&str, &str); 5] = [
    ("Ada drinks green tea in the morning", "taste"),
    ("The cat of Ada is called Byron", "pets"),
    ("Ada is at the office on Tuesdays", "habits"),
    ("The tea is in the blue tin", "kitchen"),
    ("Ada does not eat fish", "taste"),
];

/// Remembers some things at a Memory Bank, and finds them again.
#[derive(Debug, Parser)]
#[command(name = "memory_bank", version)]
struct Arguments {
    /// Use the bank that the environment names, in place of a simulated one
    #[arg(long)]
    real: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.real { real().await } else { simulated().await };
    match done {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One memory, created, found, and deleted again.
async fn real() -> Result<ExitCode, Box<dyn Error>> {
    let unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let missing: Vec<_> = NEEDED.into_iter().filter(|(name, _)| unset(name)).collect();
    if !missing.is_empty() {
        eprintln!("error: --real needs variables that are not set");
        for (name, meaning) in missing {
            eprintln!("  {name:<26} {meaning}");
        }
        return Ok(ExitCode::from(2));
    }
    let settings =
        Settings::new().with_toml("--real", "[providers.memory-bank]").with_environment();
    let (runtime, bank) = signed_in(Runtime::builder().settings(settings)).await?;
    let memory = NewMemory::new("tokenward was here").tag("tokenward");
    let created = bank.create(&memory).await?;
    line("created", &created.id.to_string());
    let page = bank.search(&Search::new("tokenward").tag("tokenward")).await?;
    found("tokenward", &page.hits);
    bank.delete(&created.id).await?;
    line("deleted", &created.id.to_string());
    runtime.shutdown(Duration::from_secs(5)).await;
    Ok(ExitCode::SUCCESS)
}

async fn simulated() -> Result<ExitCode, Box<dyn Error>> {
    let simulated = SimulatedProvider::memory_bank().start().await?;
    println!("A simulated Memory Bank at {}\n", simulated.base_url());
    let (runtime, bank) = signed_in(Runtime::builder().provider(simulated.spec())).await?;
    let memories = everyday(&bank).await?;
    println!("\nWhen the bank is unwell\n");
    trouble(&bank, &simulated).await?;
    println!();
    for memory in &memories {
        bank.delete(&memory.id).await?;
    }
    line("deleted", &format!("{} memories", memories.len()));
    line(
        "tokens",
        &format!("{} for {} requests", simulated.token_requests(), {
            simulated.requests_at(Endpoint::Resource).len()
        }),
    );
    runtime.shutdown(Duration::from_secs(5)).await;
    Ok(ExitCode::SUCCESS)
}

/// A runtime with one user who is signed in at the bank, and the client of a session of theirs.
async fn signed_in(builder: RuntimeBuilder) -> Result<(Runtime, MemoryBank), Box<dyn Error>> {
    let runtime = builder.vault(Vault::in_memory()).start().await?;
    let ada = runtime.user("ada");
    let id = ada.sign_in("memory-bank").with_client_credentials().await?;
    let session = ada.open_session().await?;
    let client = session.client_for("memory-bank").await?;
    let token = client.credential().await?.inspect().await?;
    let scopes = token.scopes().unwrap_or_default().join(" ");
    line("signed in", &format!("by {}, for {scopes}", id.method));
    Ok((runtime, MemoryBank::new(client)))
}

/// What a bank is for.
async fn everyday(bank: &MemoryBank) -> Result<Vec<Memory>, Box<dyn Error>> {
    let mut memories = Vec::new();
    for (content, tag) in MEMORIES {
        memories.push(bank.create(&NewMemory::new(content).tag(tag)).await?);
    }
    line("created", &format!("{} memories", memories.len()));
    found("tea", &bank.search(&Search::new("tea")).await?.hits);
    let page = bank.search(&Search::new("Ada").tag("taste")).await?;
    found("Ada, of taste", &page.hits);
    let all: Vec<_> = bank.search_all(Search::new("Ada").limit(2)).try_collect().await?;
    found("Ada, all pages", &all);
    Ok(memories)
}

/// What goes wrong, and what the caller sees of it.
async fn trouble(bank: &MemoryBank, simulated: &SimulatedProvider) -> Result<(), Box<dyn Error>> {
    let faults = simulated.faults().on(Endpoint::Resource);
    let search = Search::new("Ada").limit(2);

    let before = simulated.memories().len();
    faults.next(1, Fault::LostAnswer);
    let once = bank.create(&NewMemory::new("this answer is lost on its way")).await?;
    assert_eq!(simulated.memories().len(), before + 1);
    line("lost answer", "sent again under the same key: the bank has it once");
    bank.delete(&once.id).await?;

    simulated.expire_access_tokens();
    let all: Vec<_> = bank.search_all(search.clone()).try_collect().await?;
    line("expired token", &format!("renewed on the way, {} found all the same", all.len()));

    let retry_after = Some(Duration::from_secs(1));
    faults.next(1, Fault::RateLimited { retry_after });
    bank.search(&search).await?;
    line("rate limit", "the bank asked for a second, got it, and answered");

    let retry_after = Some(Duration::from_mins(5));
    faults.next(1, Fault::Unavailable { retry_after });
    if let Err(error) = bank.search(&search).await {
        line("maintenance", &error.to_string());
    }
    faults.next(1, Fault::Html200);
    if let Err(error) = bank.search(&search).await {
        line("captive portal", &error.to_string());
    }
    if let Err(error) = bank.create(&NewMemory::new("")).await {
        line("nothing to say", &error.to_string());
    }
    Ok(())
}

fn found(what: &str, hits: &[Hit]) {
    line(&format!("search {what}"), &format!("{} found", hits.len()));
    for hit in hits {
        let (memory, score) = (&hit.memory, hit.score.unwrap_or_default());
        line("", &format!("{score:.2}  {:<38} [{}]", memory.content, memory.tags.join(", ")));
    }
}

/// One line of two columns.
fn line(what: &str, told: &str) {
    println!("{what:<22}{told}");
}

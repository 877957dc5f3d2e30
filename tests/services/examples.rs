//! The two examples as a newcomer runs them: as processes, with nothing configured.

use std::process::Output;

use tokenward::testing::SimulatedProvider;

use crate::program::{command, run};

/// What it printed, when it ended well.
fn printed(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{error}");
    assert_eq!(error, "", "nothing is complained about");
    assert!(!printed.contains("Bearer") && !printed.contains("simulated-"), "no secret is shown");
    printed
}

/// What stands in the second column of the line, or the lines, that begin with `name`.
fn told<'a>(printed: &'a str, name: &str) -> &'a str {
    let line = printed.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is not told in\n{printed}")).trim()
}

#[test]
fn the_memory_bank_runs_at_once() {
    let output = run(&mut command("memory_bank"));
    let printed = printed(&output);
    for (name, text) in [
        ("signed in", "by client-credentials, for memories:read memories:write"),
        ("created", "5 memories"),
        ("search tea", "2 found"),
        ("search Ada, of taste", "2 found"),
        ("search Ada, all pages", "4 found"),
        ("lost answer", "sent again under the same key: the bank has it once"),
        ("expired token", "renewed on the way, 4 found all the same"),
        ("rate limit", "the bank asked for a second, got it, and answered"),
        ("maintenance", "the memory bank fails for now (503), retry in 300s"),
        ("nothing to say", "a memory has some content, give it"),
        ("deleted", "5 memories"),
    ] {
        assert_eq!(told(&printed, name), text);
    }
    assert!(told(&printed, "captive portal").contains("text/html"), "{printed}");
    assert!(printed.contains("1.00  The tea is in the blue tin"), "{printed}");
}

#[test]
fn the_message_is_sent_at_once() {
    let output = run(command("orange_sms").args(["--text", "hello"]));
    let printed = printed(&output);
    for (name, text) in [
        ("signed in", "valid, generation 1"),
        ("expired token", "code 42: renewed once, sent once more, delivered once"),
        ("no access", "orange does not allow this (403 code 50), check what the client may do"),
        ("lost answer", "not sent again, since it may have been delivered:"),
        ("rate limit", "orange asks for patience (429 code 53), retry in 30s"),
        ("delivered", "3 messages"),
    ] {
        assert_eq!(told(&printed, name), text);
    }
    assert!(told(&printed, "sent").starts_with("kept at https://api.orange.com/"), "{printed}");
}

#[test]
fn what_is_missing_for_a_real_one_is_told_at_once() {
    for (example, missing) in [
        (
            "memory_bank",
            vec!["MEMORY_BANK_URL", "MEMORY_BANK_CLIENT_ID", "MEMORY_BANK_CLIENT_SECRET"],
        ),
        ("orange_sms", vec!["ORANGE_CLIENT_ID", "ORANGE_CLIENT_SECRET", "--from", "--to"]),
    ] {
        let output = run(command(example).arg("--real"));
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines = error.lines().skip(1).map(|line| line.split_whitespace().next());
        assert_eq!(lines.flatten().collect::<Vec<_>>(), missing, "{error}");
        assert!(output.stdout.is_empty());
    }
    let bad = run(command("orange_sms").args(["--real", "--to", "0612345678"]));
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("+33612345678"), "it says how");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_that_the_environment_names_is_the_one_that_is_used() {
    let bank = SimulatedProvider::memory_bank().client("mine").client_secret("my-secret");
    let bank = bank.start().await.expect("a port");
    let mut command = command("memory_bank");
    command.arg("--real").env("MEMORY_BANK_URL", bank.base_url().as_str());
    command.env("MEMORY_BANK_CLIENT_ID", "mine").env("MEMORY_BANK_CLIENT_SECRET", "my-secret");
    let output = tokio::task::spawn_blocking(move || run(&mut command)).await.expect("no panic");
    let printed = printed(&output);
    assert_eq!(told(&printed, "search tokenward"), "1 found");
    assert_eq!(bank.memories().len(), 0, "what it created it has deleted");
    assert!(!printed.contains("my-secret"));
}

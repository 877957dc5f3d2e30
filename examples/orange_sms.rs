//! Sends a message by Orange's SMS service, and shows what becomes of it when the token is refused
//! or the answer is lost.
//!
//!     cargo run --example orange_sms
//!
//! runs at once, against a simulated gateway on this machine that delivers nothing. It prints, among
//! other things:
//!
//!     sent              kept at https://api.orange.com/smsmessaging/v1/outbound/…
//!     expired token     code 42: renewed once, sent once more, delivered once
//!     lost answer       not sent again, since it may have been delivered:
//!
//! With `--real` it sends one real message, which costs what your contract says:
//!
//!     export ORANGE_CLIENT_ID=… ORANGE_CLIENT_SECRET=…
//!     cargo run --example orange_sms -- --real --from +33600000000 --to +33612345678

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokenward::service::orange::{Orange, PhoneNumber, Sms};
use tokenward::testing::{Endpoint, Fault, SimulatedProvider};
use tokenward::{Runtime, RuntimeBuilder, Settings, Vault};

/// What the real service takes from the environment.
const NEEDED: [(&str, &str); 2] = [
    ("ORANGE_CLIENT_ID", "the client id of your application at Orange"),
    ("ORANGE_CLIENT_SECRET", "its client secret"),
];

/// Sends a message by Orange's SMS service.
#[derive(Debug, Parser)]
#[command(name = "orange_sms", version)]
struct Arguments {
    /// Send a real message, as the environment configures it
    #[arg(long)]
    real: bool,

    /// The number that Orange gave your application, such as +33600000000
    #[arg(long, value_name = "NUMBER", requires = "real")]
    from: Option<PhoneNumber>,

    /// The number that the message goes to
    #[arg(long, value_name = "NUMBER", requires = "real")]
    to: Option<PhoneNumber>,

    /// What it says
    #[arg(long, value_name = "TEXT", default_value = "Hello from tokenward")]
    text: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done =
        if arguments.real { real(arguments).await } else { simulated(&arguments.text).await };
    match done {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One message. It is not repeated when nobody knows whether it was delivered.
async fn real(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let mut missing: Vec<_> = NEEDED.into_iter().filter(|(name, _)| unset(name)).collect();
    let Arguments { from, to, text, .. } = arguments;
    let numbers = [
        ("--from", from.is_none(), "the number that Orange gave your application"),
        ("--to", to.is_none(), "the number that the message goes to"),
    ];
    missing.extend(numbers.into_iter().filter(|it| it.1).map(|(name, _, meaning)| (name, meaning)));
    let (Some(from), Some(to), true) = (from, to, missing.is_empty()) else {
        eprintln!("error: --real needs what is not given");
        for (name, meaning) in missing {
            eprintln!("  {name:<22} {meaning}");
        }
        return Ok(ExitCode::from(2));
    };
    let settings = Settings::new().with_toml("--real", "[providers.orange]").with_environment();
    let (runtime, orange) = signed_in(Runtime::builder().settings(settings)).await?;
    send(&orange, &Sms::new(from, to, text)).await?;
    runtime.shutdown(Duration::from_secs(5)).await;
    Ok(ExitCode::SUCCESS)
}

async fn simulated(text: &str) -> Result<ExitCode, Box<dyn Error>> {
    let simulated = SimulatedProvider::orange().start().await?;
    println!("A simulated SMS gateway at {}\n", simulated.base_url());
    let (runtime, orange) = signed_in(Runtime::builder().provider(simulated.spec())).await?;
    let sms = Sms::new("+33600000000".parse()?, "+33612345678".parse()?, text);
    let health = orange.check_health().await?;
    assert!(health.latency < Duration::from_secs(30));
    line("health", "Orange grants a token");
    send(&orange, &sms).await?;
    println!("\nWhen something is wrong\n");
    trouble(&orange, &simulated, &sms).await?;
    println!();
    line("delivered", &format!("{} messages", simulated.messages().len()));
    line(
        "tokens",
        &format!("{} asked for, one of them by the health check", { simulated.token_requests() }),
    );
    runtime.shutdown(Duration::from_secs(5)).await;
    Ok(ExitCode::SUCCESS)
}

/// A runtime with one user who is signed in at Orange, and the client of a session of theirs.
async fn signed_in(builder: RuntimeBuilder) -> Result<(Runtime, Orange), Box<dyn Error>> {
    let runtime = builder.vault(Vault::in_memory()).start().await?;
    let ada = runtime.user("ada");
    ada.sign_in("orange").with_client_credentials().await?;
    let session = ada.open_session().await?;
    let orange = Orange::new(session.client_for("orange").await?);
    let token = orange.token().await?;
    line("signed in", &format!("{}, generation {}", token.state(), token.generation()));
    Ok((runtime, orange))
}

async fn send(orange: &Orange, sms: &Sms) -> Result<(), Box<dyn Error>> {
    let sent = orange.send_sms(sms).await?;
    let kept = sent.resource_url.map_or_else(|| "nowhere".to_owned(), |url| url.to_string());
    line("sent", &format!("kept at {kept}"));
    Ok(())
}

/// What goes wrong, and what becomes of the message.
async fn trouble(
    orange: &Orange,
    simulated: &SimulatedProvider,
    sms: &Sms,
) -> Result<(), Box<dyn Error>> {
    let faults = simulated.faults().on(Endpoint::Resource);
    let delivered = || simulated.messages().len();

    let before = delivered();
    simulated.expire_access_tokens();
    orange.send_sms(sms).await?;
    assert_eq!(delivered(), before + 1);
    line("expired token", "code 42: renewed once, sent once more, delivered once");

    let forbidden = r#"{"code":50,"message":"Access denied"}"#;
    faults.always(Fault::Status(403, forbidden.to_owned()));
    if let Err(error) = orange.send_sms(sms).await {
        line("no access", &error.to_string());
    }
    faults.clear();

    faults.next(1, Fault::LostAnswer);
    if let Err(error) = orange.send_sms(sms).await {
        line("lost answer", "not sent again, since it may have been delivered:");
        line("", &error.to_string());
    }
    let retry_after = Some(Duration::from_secs(30));
    faults.next(1, Fault::RateLimited { retry_after });
    if let Err(error) = orange.send_sms(sms).await {
        line("rate limit", &error.to_string());
    }
    if let Err(error) = "0612345678".parse::<PhoneNumber>() {
        line("bad number", &error.to_string());
    }
    Ok(())
}

/// One line of two columns.
fn line(what: &str, told: &str) {
    println!("{what:<18}{told}");
}

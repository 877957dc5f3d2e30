//! A host that embeds all of it: a runtime with a user and a provider, an authorization server, and
//! routes that other applications may call with its tokens.
//!
//! ```sh
//! cargo run --example agent_host                       # everything simulated, prints what to try
//! cargo run --example agent_host -- --config host.toml # as a file says
//! ```
//!
//! It prints, with the same for an application `reader` that may only read:
//!
//!     listening on http://127.0.0.1:8080
//!
//!     # writer may memories:read memories:write models:read
//!     TOKEN=$(curl -s -u 'app_writer:…' -d grant_type=client_credentials \
//!       http://127.0.0.1:8080/auth/token | sed …)
//!     curl -s -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/memories
//!     curl -s -H "authorization: Bearer $TOKEN" -d 'tea at four' http://127.0.0.1:8080/memories
//!     curl -s -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/models
//!
//!     curl -s http://127.0.0.1:8080/health
//!     curl -s http://127.0.0.1:8080/metrics
//!
//! After the POST, `/memories` shows `app_writer: tea at four`. A POST with the token of `reader` is
//! answered by `{"error":"insufficient_scope",…}`.

mod config;
mod host;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;

use config::Config;
use host::Host;

/// A host with an authorization server and guarded routes.
#[derive(Parser)]
struct Arguments {
    /// A TOML file with the address, the issuer, and the applications.
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let config = match Arguments::parse().config {
        Some(path) => Config::read(&path)?,
        None => Config::default(),
    };
    let listener = TcpListener::bind(config.listen).await?;
    let base = format!("http://{}", listener.local_addr()?);
    let host = Host::start(&config, &base).await?;

    println!("listening on {base}");
    for application in &host.applications {
        let (id, secret) = (application.application.id(), application.secret.expose());
        println!(
            "\n# {} may {}",
            application.application.name(),
            application.application.permissions()
        );
        println!("TOKEN=$(curl -s -u '{id}:{secret}' -d grant_type=client_credentials \\");
        println!("  {base}/auth/token | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')");
        println!("curl -s -H \"authorization: Bearer $TOKEN\" {base}/memories");
        println!("curl -s -H \"authorization: Bearer $TOKEN\" -d 'tea at four' {base}/memories");
        println!("curl -s -H \"authorization: Bearer $TOKEN\" {base}/models");
    }
    println!("\ncurl -s {base}/health");
    println!("curl -s {base}/metrics");
    let service = host.router.clone().into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async {
            // Without a signal to wait for, it goes on.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    for unfinished in host.runtime.shutdown(Duration::from_secs(10)).await {
        eprintln!("not finished: {unfinished}");
    }
    Ok(())
}

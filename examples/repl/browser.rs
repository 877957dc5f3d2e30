//! A browser that nobody looks at: it opens an address on this machine, and goes where it is led.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::{Position, Url};

use crate::problem::Problem;

/// How often it is led on.
const REDIRECTS: usize = 10;

/// How long an answer may be.
const LONGEST: u64 = 1024 * 1024;

/// Where the browser ended.
pub(crate) struct Page {
    /// The status as it is written: `200 OK`.
    pub(crate) status: String,
    /// Whether it was led there from another address.
    pub(crate) led: bool,
}

/// Opens `address`, and follows it to the end.
pub(crate) async fn open(address: &str) -> Result<Page, Problem> {
    let broken = |error: url::ParseError| {
        Problem::new(format!("the browser was led to no address: {error}"))
    };
    let mut url = Url::parse(address).map_err(broken)?;
    for redirects in 0..REDIRECTS {
        if url.scheme() != "http" {
            let host = url.host_str().unwrap_or_default();
            return Err(Problem::new(format!("{host} is not on this machine"))
                .advice("open the address in your browser"));
        }
        let (status, location) = get(&url).await?;
        match location {
            Some(location) => url = url.join(&location).map_err(broken)?,
            None => return Ok(Page { status, led: redirects > 0 }),
        }
    }
    Err(Problem::new("the browser is led in circles, open the address in your own"))
}

/// Gets one page: its status, and where it leads to.
async fn get(url: &Url) -> Result<(String, Option<String>), Problem> {
    let host = url.host_str().unwrap_or("localhost");
    let port = url.port_or_known_default().unwrap_or(80);
    let unreachable =
        |error: std::io::Error| Problem::new(format!("{host}:{port} can not be reached: {error}"));
    let mut stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(unreachable)?;
    // The page is for people, and an answer that breaks off has its head all the same.
    let mut answer = Vec::new();
    let _ = stream.take(LONGEST).read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let (head, _) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let (status, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = status.split_once(' ').map_or(status, |(_version, status)| status);
    let mut fields = fields.lines().filter_map(|line| line.split_once(':'));
    let location = fields
        .find(|(name, _)| status.starts_with('3') && name.eq_ignore_ascii_case("location"))
        .map(|(_, location)| location.trim().to_owned());
    Ok((status.to_owned(), location))
}

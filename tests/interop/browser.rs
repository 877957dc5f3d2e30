//! A browser that is driven by the tests: it keeps cookies, follows redirects, and fills in forms.

use std::collections::BTreeMap;

use http::header::{COOKIE, LOCATION, SET_COOKIE};
use url::Url;

/// A window with its cookies, all of which belong to one server.
pub(crate) struct Browser {
    client: reqwest::Client,
    home: Url,
    /// By their path and their name.
    cookies: BTreeMap<(String, String), String>,
}

/// Where a click led to.
#[derive(Debug)]
pub(crate) enum Landed {
    /// A page of the server.
    Page(Page),
    /// The server sends the browser to another place, which is not opened yet.
    Away(Url),
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Browser {
    /// A window for pages of the server `home`.
    pub(crate) fn new(home: &str) -> Self {
        let home = Url::parse(home).expect("a url");
        let one_at_a_time = reqwest::redirect::Policy::none();
        let client = crate::common::http_client_builder().redirect(one_at_a_time).build();
        Self { client: client.expect("a client"), home, cookies: BTreeMap::new() }
    }

    /// Opens a page of the server.
    pub(crate) async fn open(&mut self, url: &str) -> Landed {
        let url = Url::parse(url).expect("a url");
        self.follow(self.client.get(url.clone()), url).await
    }

    /// Opens a page elsewhere, without cookies: the status of the answer.
    pub(crate) async fn leave_for(&self, url: &Url) -> u16 {
        self.client.get(url.clone()).send().await.expect("an answer").status().as_u16()
    }

    /// Signs in at the server as `user` and agrees, form after form, until there is no more to ask.
    pub(crate) async fn agree(&mut self, mut landed: Landed, user: &str) -> Landed {
        loop {
            landed = match landed {
                Landed::Page(page) if page.has_form() => self.submit(&page, user).await,
                end => return end,
            }
        }
    }

    /// Sends the form of a page; what it leaves to the user is the user's name.
    pub(crate) async fn submit(&mut self, page: &Page, user: &str) -> Landed {
        let (action, fields) = page.form(user);
        let url = self.home.join(&action).expect("a url");
        self.follow(self.client.post(url.clone()).form(&fields), url).await
    }

    /// Clicks on the link of a page that says `text`.
    pub(crate) async fn click(&mut self, page: &Page, text: &str) -> Landed {
        let (before, _) = page.text.split_once(text).expect("a link");
        let tag = before.rsplit_once("<a ").expect("a link").1;
        let url = self.home.join(&attribute(tag, "href").expect("a link")).expect("a url");
        self.follow(self.client.get(url.clone()), url).await
    }

    async fn follow(&mut self, mut request: reqwest::RequestBuilder, mut url: Url) -> Landed {
        loop {
            let cookies = self.cookies_for(url.path());
            if !cookies.is_empty() {
                request = request.header(COOKIE, cookies);
            }
            let answer = request.send().await.expect("an answer");
            for cookie in answer.headers().get_all(SET_COOKIE) {
                self.keep(cookie.to_str().expect("text"));
            }
            let status = answer.status();
            let Some(location) = answer.headers().get(LOCATION).filter(|_| status.is_redirection())
            else {
                let (status, text) = (status.as_u16(), answer.text().await.expect("a page"));
                return Landed::Page(Page { status, text });
            };
            url = url.join(location.to_str().expect("text")).expect("a url");
            if url.origin() != self.home.origin() {
                return Landed::Away(url);
            }
            request = self.client.get(url.clone());
        }
    }

    fn cookies_for(&self, path: &str) -> String {
        let sent = self.cookies.iter().filter(|((under, _), _)| path.starts_with(under));
        let pairs: Vec<_> = sent.map(|((_, name), value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    fn keep(&mut self, cookie: &str) {
        let mut parts = cookie.split("; ");
        let (name, value) = parts.next().and_then(|it| it.split_once('=')).expect("a cookie");
        let path = parts.find_map(|it| it.strip_prefix("path=")).unwrap_or("/");
        let key = (path.to_owned(), name.to_owned());
        if value.is_empty() {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, value.to_owned());
        }
    }
}

impl Landed {
    pub(crate) fn page(self) -> Page {
        match self {
            Self::Page(page) => page,
            Self::Away(url) => panic!("not a page of the server: {url}"),
        }
    }

    pub(crate) fn away(self) -> Url {
        match self {
            Self::Away(url) => url,
            Self::Page(page) => panic!("{}: {}", page.status, page.text),
        }
    }
}

impl Page {
    fn has_form(&self) -> bool {
        self.text.contains("<form")
    }

    /// Where the form of this page goes, and its fields with what they hold.
    fn form(&self, user: &str) -> (String, Vec<(String, String)>) {
        let form = self.text.split_once("<form").expect("a form").1;
        let form = form.split("</form>").next().unwrap_or_default();
        let fields = form.split("<input").skip(1).map(|tag| {
            let tag = tag.split('>').next().unwrap_or_default();
            let name = attribute(tag, "name").expect("a field has a name");
            (name, attribute(tag, "value").unwrap_or_else(|| user.to_owned()))
        });
        (attribute(form, "action").expect("a form goes somewhere"), fields.collect())
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split_once(&format!("{name}=\""))?.1.split('"').next()?;
    Some(value.replace("&amp;", "&"))
}

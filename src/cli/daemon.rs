//! Talks to the daemon that runs on this box: by its local socket where there is one, else as its page does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::config::Config;
use crate::reload::Kept;
use crate::web::{self, SERVICE_SOCKET};

/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The running daemon.
pub(super) struct Daemon {
    /// Where it may answer, in the order in which it is asked: as the file says, and as the last good configuration does,
    /// which is in use where the file was changed.
    ways: Vec<Way>,
    /// Of its configuration.
    file: PathBuf,
}

/// What is done to what is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    /// It is changed.
    Change,
    /// It is removed.
    Remove,
}

/// A way to a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// Its own socket.
    Socket(PathBuf),
    /// That of the service, which may be another daemon.
    Service,
    /// Its page.
    Page { address: SocketAddr, is_tls: bool },
}

impl Way {
    /// All ways to a daemon with this configuration.
    fn all(config: &Config) -> Vec<Self> {
        let (state, storage) = (std::env::var_os("STATE_DIRECTORY").map(PathBuf::from), &config.storage.path);
        let spool = Some(&config.spool.path).filter(|path| !path.as_os_str().is_empty() && !path.starts_with(storage));
        let folder = state.as_ref().or(spool).unwrap_or(storage);
        let socket = Self::Socket(config.web.socket_in(folder));
        let service = config.web.socket.is_none().then_some(Self::Service);
        [Some(socket), service, Some(Self::page(&config.web))].into_iter().flatten().collect()
    }

    fn page(config: &web::Config) -> Self {
        let listen = config.listen;
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self::Page { address: (ip, listen.port()).into(), is_tls: config.has_tls(listen.ip()) }
    }

    fn socket(&self) -> Option<&Path> {
        match self {
            Self::Socket(path) => Some(path),
            Self::Service => Some(Path::new(SERVICE_SOCKET)),
            Self::Page { .. } => None,
        }
    }

    fn url(&self, path: &str) -> Result<url::Url> {
        let (scheme, host) = match self {
            Self::Page { address, is_tls: true } => ("https", address.to_string()),
            Self::Page { address, is_tls: false } => ("http", address.to_string()),
            _ => ("http", "localhost".to_owned()),
        };
        Ok(format!("{scheme}://{host}/api/v1/{path}").parse()?)
    }

    fn client(&self) -> Result<reqwest::Client> {
        // The page's certificate is often one of the box's own. It is not checked: this is the box itself, and nothing
        // secret is sent this way.
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).tls_danger_accept_invalid_certs(true);
        let client = match self.socket() {
            Some(socket) => client.unix_socket(socket),
            None => client,
        };
        Ok(client.build()?)
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self, self.socket()) {
            (Self::Page { address, .. }, _) => address.fmt(f),
            (_, socket) => socket.unwrap_or(Path::new("")).display().fmt(f),
        }
    }
}

impl Daemon {
    /// The one that runs with this configuration.
    ///
    /// # Errors
    /// When the configuration cannot be read, and there is no last good one.
    pub(super) fn new(file: &Path) -> Result<Self> {
        // Fails only when another provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let in_use = Kept::of_service().load().map(|kept| Way::all(&kept.config));
        let mut ways = match (Config::load(file), &in_use) {
            (Ok(config), _) => Way::all(&config),
            // A daemon that started with the last good one runs all the same.
            (Err(_), Some(_)) => Vec::new(),
            (Err(failure), None) => return Err(failure.into()),
        };
        for way in in_use.into_iter().flatten() {
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        Ok(Self { ways, file: file.to_owned() })
    }

    /// Asks for `path` below `/api/v1/`.
    ///
    /// # Errors
    /// What the daemon says, or that there is none.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let ask = |client: reqwest::Client, mut url: url::Url| {
            if !query.is_empty() {
                url.query_pairs_mut().extend_pairs(query);
            }
            client.get(url)
        };
        self.answer(path, ask).await?.into_good()
    }

    /// Gives a command.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub(super) async fn post(&self, path: &str, command: &impl Serialize) -> Result<Value> {
        self.send(path, command).await?.into_good()
    }

    /// Gives a command that holds a password: only through a socket, whose other end nothing else can pretend to be.
    ///
    /// # Errors
    /// As [`Daemon::get`], or when there is no such socket.
    pub(super) async fn post_secret(&self, path: &str, command: &impl Serialize) -> Result<Value> {
        self.by_socket()?.post(path, command).await
    }

    /// The same for a change.
    ///
    /// # Errors
    /// As [`Daemon::post_secret`].
    pub(super) async fn change_secret(&self, path: &str, change: &impl Serialize) -> Result<Value> {
        self.by_socket()?.change(Edit::Change, path, change).await
    }

    /// The same daemon, by its sockets only.
    fn by_socket(&self) -> Result<Self> {
        let is_there = |way: &&Way| way.socket().is_some_and(Path::exists);
        let ways: Vec<Way> = self.ways.iter().filter(is_there).cloned().collect();
        if ways.is_empty() {
            bail!(
                "a password is sent by the daemon's local socket only, and there is none at {}: \"systemctl status outpost\" \
                 says whether it runs; the page /people adds users too",
                self.sockets()
            );
        }
        Ok(Self { ways, file: self.file.clone() })
    }

    /// Where its sockets would lie.
    fn sockets(&self) -> String {
        let paths = self.ways.iter().filter_map(Way::socket).map(|path| path.display().to_string());
        paths.collect::<Vec<_>>().join(" or ")
    }

    /// Gives a command whose answer says itself whether it was carried out.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub(super) async fn post_any(&self, path: &str, command: &impl Serialize) -> Result<Value> {
        let answer = self.send(path, command).await?;
        if answer.is_problem { answer.into_good() } else { Ok(answer.json) }
    }

    /// Changes what is there, or removes it.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub(super) async fn change(&self, edit: Edit, path: &str, change: &impl Serialize) -> Result<Value> {
        let method = match edit {
            Edit::Change => reqwest::Method::PATCH,
            Edit::Remove => reqwest::Method::DELETE,
        };
        self.send_as(method, path, change).await?.into_good()
    }

    async fn send(&self, path: &str, command: &impl Serialize) -> Result<Answer> {
        self.send_as(reqwest::Method::POST, path, command).await
    }

    async fn send_as(&self, method: reqwest::Method, path: &str, command: &impl Serialize) -> Result<Answer> {
        let body = serde_json::to_vec(command)?;
        let ask = |client: reqwest::Client, url| {
            client.request(method.clone(), url).header("content-type", "application/json").body(body.clone())
        };
        self.answer(path, ask).await
    }

    async fn answer(
        &self,
        path: &str,
        ask: impl Fn(reqwest::Client, url::Url) -> reqwest::RequestBuilder,
    ) -> Result<Answer> {
        let (mut silent, mut closed) = (Vec::new(), None);
        for way in &self.ways {
            match way.socket().map(UnixStream::connect) {
                Some(Err(error)) => {
                    if error.kind() == io::ErrorKind::PermissionDenied {
                        closed = closed.or(Some(way));
                    }
                    continue;
                }
                Some(Ok(_)) if *way == Way::Service && !self.is_of_service(way).await => continue,
                _ => {}
            }
            match ask(way.client()?, way.url(path)?).send().await {
                Ok(answer) if may_need_rights(&answer) && closed.is_some() => {}
                Ok(answer) if answer.status() == reqwest::StatusCode::UNAUTHORIZED && way.socket().is_none() => {
                    bail!(
                        "the page at {way} wants a login, and the daemon's local socket, which needs none, is not at {}: set \
                         web.socket, or STATE_DIRECTORY as the daemon has it",
                        self.sockets()
                    );
                }
                Ok(answer) => return Answer::read(answer, way).await,
                Err(error) if error.is_connect() => silent.push(way.to_string()),
                Err(error) => return Err(anyhow!(error.without_url()).context(format!("ask the daemon at {way}"))),
            }
        }
        match closed {
            Some(socket) => {
                Err(anyhow!("{socket}: permission denied: run this as root, or as a member of group outpost"))
            }
            None => Err(anyhow!(
                "no daemon answers at {}: \"systemctl status outpost\" says whether it runs",
                silent.join(" or ")
            )),
        }
    }

    /// Whether the service reads this configuration.
    async fn is_of_service(&self, service: &Way) -> bool {
        if self.file == Config::default_path() {
            return true;
        }
        let file = async {
            let answer = service.client()?.get(service.url("config")?).send().await?;
            let config: Value = serde_json::from_slice(&answer.bytes().await?)?;
            Ok::<_, anyhow::Error>(config["file"].as_str().map(PathBuf::from))
        };
        file.await.ok().flatten().is_some_and(|file| is_same(&file, &self.file))
    }
}

/// Whether both are one file, however they are written.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

/// Whether someone with other rights might get another answer.
fn may_need_rights(answer: &reqwest::Response) -> bool {
    matches!(answer.status(), reqwest::StatusCode::UNAUTHORIZED | reqwest::StatusCode::FORBIDDEN)
}

struct Answer {
    json: Value,
    is_success: bool,
    is_problem: bool,
}

impl Answer {
    async fn read(answer: reqwest::Response, way: &Way) -> Result<Self> {
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let is_problem = kind.is_some_and(|kind| kind.starts_with("application/problem+json"));
        let (status, body) = (answer.status(), answer.bytes().await.context("read the daemon's answer")?);
        // What was done without an answer to give.
        let body = if body.is_empty() { Bytes::from_static(b"null") } else { body };
        let json: Value = serde_json::from_slice(&body)
            .with_context(|| format!("what answers at {way} is not outpost ({status})"))?;
        Ok(Self { json, is_success: status.is_success(), is_problem })
    }

    fn into_good(self) -> Result<Value> {
        if !self.is_success {
            bail!("{}", self.json["detail"].as_str().unwrap_or("the daemon refused without saying why"));
        }
        Ok(self.json)
    }
}

/// `name` as one part of a path.
pub(super) fn segment(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

/// `3 h 20 min`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        assert_eq!([59, 60, 3661, 90_000].map(duration), ["59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_daemon_is_asked_by_its_socket_first_and_then_by_its_page() {
        let config = |web: &str| {
            let text = format!("[storage]\npath = \"/var/x\"\n[web]\n{web}\n[camera.a.source]\nurl = \"rtsp://h/1\"\n");
            Config::parse(&text).expect("a configuration")
        };
        let page = |address: &str, is_tls| Way::Page { address: address.parse().expect("an address"), is_tls };
        let ways = Way::all(&config("listen = \"127.0.0.1:81\"\nsocket = \"/run/x.sock\""));
        assert_eq!(ways, [Way::Socket("/run/x.sock".into()), page("127.0.0.1:81", false)]);
        let ways = Way::all(&config("listen = \"0.0.0.0:443\""));
        let [Way::Socket(_), Way::Service, last] = &ways[..] else { panic!("{ways:?}") };
        assert_eq!(*last, page("127.0.0.1:443", true));
        assert_eq!(last.url("status").expect("an address").as_str(), "https://127.0.0.1/api/v1/status");
        assert_eq!(Way::page(&config("listen = \"[::]:81\"\nplain_http = true").web), page("[::1]:81", false));
    }
}

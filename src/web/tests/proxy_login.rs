//! Logins by a proxy that identifies users: which tokens are taken, and for which user.

use serde_json::{Value, json};

use super::*;
use crate::access::{Role, UserChange};
use crate::clock::TimeQuality;
use crate::web::proxy_login::fixture::{Signer, with_secret};

const ISSUER: &str = "https://farm.example";
/// The time of the box's clock, seconds since 1970.
const NOW: i64 = 1_795_341_600;

struct Proxy {
    site: Site,
    file: tempfile::NamedTempFile,
}

fn claims(name: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": ["another", "box-7"], "email": name, "sub": "0815", "iat": NOW - 10, "nbf": NOW - 10,
        "exp": NOW + 300,
    })
}

/// `claims` with another value of one.
fn but(name: &str, value: Value) -> Value {
    let mut claims = claims("anna@farm.example");
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims("anna@farm.example");
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

impl Proxy {
    /// In front of a box with an admin, and `anna@farm.example`, a viewer.
    async fn publishing(keys: &[Value], change: impl FnOnce(&mut ProxyLoginConfig)) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        publish(&file, keys);
        let mut login = ProxyLoginConfig {
            header: "X-Assertion".into(),
            issuer: ISSUER.into(),
            audience: vec!["box-7".into()],
            jwks_file: Some(file.path().to_owned()),
            ..ProxyLoginConfig::default()
        };
        change(&mut login);
        let config = Config { proxy_login: Some(login), ..Config::default() };
        config.validate().expect("valid");
        let bench = Bench::new();
        let now = jiff::Timestamp::from_second(NOW).expect("a time");
        bench.clock.step_wall(now, TimeQuality::Synchronised);
        let site = Site::open_with(bench, config).await;
        site.add("admin", Role::Admin);
        site.add("anna@farm.example", Role::Viewer);
        Self { site, file }
    }

    async fn me(&self, token: &str) -> Answer {
        self.site.ask("GET", "/api/v1/me", &format!("X-Assertion: {token}\r\n")).await
    }

    async fn is_taken(&self, token: &str) -> bool {
        match self.me(token).await {
            answer if answer.status == 200 => true,
            answer => {
                assert_eq!((answer.status, &answer.problem()["code"]), (401, &"not_logged_in".into()));
                false
            }
        }
    }

    /// The reasons for which tokens were refused, as the audit log has them.
    fn refusals(&self) -> Vec<String> {
        let all = self.site.bench.services.audit.find(&crate::audit::Query { limit: 100, ..Default::default() });
        let all = all.expect("entries").into_iter().map(|entry| entry.act).filter(|act| act.action == "login by proxy");
        all.filter(|act| act.status == 401).map(|act| act.target).collect()
    }
}

fn publish(file: &tempfile::NamedTempFile, keys: &[Value]) {
    std::fs::write(file.path(), json!({ "keys": keys }).to_string()).expect("publish keys");
}

fn header(algorithm: &str) -> Value {
    json!({ "alg": algorithm, "kid": "k1", "typ": "JWT" })
}

#[tokio::test]
async fn a_user_comes_by_each_kind_of_key_and_is_noted_once() {
    for (signer, algorithms) in
        [(Signer::rsa(), &["RS256", "PS256"][..]), (Signer::p256(), &["ES256"]), (Signer::ed25519(), &["EdDSA"])]
    {
        let proxy = Proxy::publishing(&[signer.published("k1")], |_| {}).await;
        for algorithm in algorithms {
            let token = signer.token(&header(algorithm), &claims("anna@farm.example"));
            let answer = proxy.me(&token).await;
            assert_eq!(answer.status, 200, "{algorithm}: {} {:?}", answer.text(), proxy.refusals());
            let me = answer.json();
            assert_eq!(
                (&me["name"], &me["kind"], &me["role"]),
                (&"anna@farm.example".into(), &"proxy".into(), &"viewer".into())
            );
            let unnamed = signer.token(&json!({ "alg": algorithm }), &claims("anna@farm.example"));
            assert!(proxy.is_taken(&unnamed).await, "{algorithm}: the only key needs no name");
        }
        let audit = proxy.site.bench.services.audit.find(&crate::audit::Query { limit: 100, ..Default::default() });
        let logins = audit.expect("entries").into_iter().filter(|entry| entry.act.action == "login by proxy");
        let logins: Vec<_> = logins.map(|entry| (entry.act.who, entry.act.kind, entry.act.target)).collect();
        assert_eq!(logins, [("anna@farm.example".to_owned(), "proxy".to_owned(), ISSUER.to_owned())]);
    }
}

#[tokio::test]
async fn what_is_forged_over_early_or_meant_for_others_is_refused() {
    let (signer, stranger) = (Signer::p256(), Signer::p256());
    let published = signer.published("k1");
    let proxy = Proxy::publishing(std::slice::from_ref(&published), |_| {}).await;
    let good = signer.token(&header("ES256"), &claims("anna@farm.example"));
    assert!(proxy.is_taken(&good).await, "{:?}", proxy.refusals());
    let parts: Vec<&str> = good.split('.').collect();
    let unsigned = Signer::ed25519().token(&json!({ "alg": "none" }), &claims("admin"));
    let other_claims = signer.token(&header("ES256"), &claims("admin"));
    let signed = |claims: Value| signer.token(&header("ES256"), &claims);
    let critical = json!({ "alg": "ES256", "kid": "k1", "crit": ["b64"] });
    let cases = [
        ("another key", stranger.token(&header("ES256"), &claims("anna@farm.example"))),
        ("other claims", format!("{}.{}.{}", parts[0], other_claims.split('.').nth(1).expect("claims"), parts[2])),
        ("alg none", unsigned.clone()),
        ("alg none without a signature", format!("{}.", unsigned.rsplit_once('.').expect("parts").0)),
        ("HS256 with the public key", with_secret("HS256", "k1", &claims("admin"), published.to_string().as_bytes())),
        ("ES256 with a shared secret", with_secret("ES256", "k1", &claims("admin"), b"secret")),
        ("an algorithm of another kind of key", signer.token(&header("RS256"), &claims("anna@farm.example"))),
        ("a critical extension", signer.token(&critical, &claims("anna@farm.example"))),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("no token", "anna@farm.example".to_owned()),
        ("too long", signed(but("padding", "x".repeat(9000).into()))),
        ("over", signed(but("exp", (NOW - 61).into()))),
        ("without an end", signed(without("exp"))),
        ("not valid yet", signed(but("nbf", (NOW + 61).into()))),
        ("made later", signed(but("iat", (NOW + 61).into()))),
        ("another issuer", signed(but("iss", "https://evil.example".into()))),
        ("no issuer", signed(without("iss"))),
        ("for others", signed(but("aud", "box-8".into()))),
        ("for no one", signed(without("aud"))),
        ("of no one", signed(without("email"))),
        ("an address that is not verified", signed(but("email_verified", false.into()))),
        ("no user of the box", signed(but("email", "eve@farm.example".into()))),
    ];
    for (what, token) in cases {
        assert!(!proxy.is_taken(&token).await, "{what}");
    }
    let twice = format!("X-Assertion: {good}\r\nX-Assertion: {good}\r\n");
    assert_eq!(proxy.site.ask("GET", "/api/v1/me", &twice).await.status, 401, "which of them counts?");
    let said = proxy.refusals().join("\n");
    for reason in ["its signature", "(exp)", "its iss", "its aud", "is not one of the box", "email_verified"] {
        assert!(said.contains(reason), "{reason}: {said}");
    }
    assert!(proxy.is_taken(&signed(but("exp", (NOW - 59).into()))).await, "within the leeway");
    // Who carries no token finds the login.
    let page = proxy.site.get("/").await;
    assert_eq!((page.status, page.header("location")), (303, "/login"));
    let cookie = proxy.site.cookie("admin").await;
    let both = format!("{cookie}X-Assertion: {good}\r\n");
    assert_eq!(proxy.site.ask("GET", "/api/v1/me", &both).await.json()["name"], "admin", "a login counts more");
}

#[tokio::test]
async fn users_have_their_names_here_and_strangers_a_role_only_where_that_was_said() {
    let signer = Signer::ed25519();
    let proxy = Proxy::publishing(&[signer.published("k1")], |login| {
        login.users = [("chief@farm.example".to_owned(), "admin".to_owned())].into();
        login.unknown_users = Some(Role::Viewer);
        login.header = "Authorization".into();
    })
    .await;
    let ask = async |name: &str| {
        let token = signer.token(&header("EdDSA"), &claims(name));
        proxy.site.ask("GET", "/api/v1/me", &format!("Authorization: Bearer {token}\r\n")).await
    };
    let chief = ask("chief@farm.example").await.json();
    assert_eq!((&chief["name"], &chief["role"]), (&"admin".into(), &"admin".into()));
    let stranger = ask("eve@farm.example").await.json();
    assert_eq!((&stranger["name"], &stranger["role"]), (&"eve@farm.example".into(), &"viewer".into()));
    assert_eq!(ask("eve <eve@farm.example>").await.status, 401, "no name of a user");
    let key = proxy.site.bench.access.add_key(
        crate::access::NewKey { name: "a program".into(), role: Role::Viewer, cameras: None, expires: None },
        "admin",
    );
    let key = format!("Authorization: Bearer {}\r\n", key.expect("a key").key);
    assert_eq!(proxy.site.ask("GET", "/api/v1/me", &key).await.json()["kind"], "key");
}

#[tokio::test]
async fn a_user_who_is_kept_out_is_refused_and_what_is_open_ends() {
    let signer = Signer::ed25519();
    let proxy = Proxy::publishing(&[signer.published("k1")], |login| login.unknown_users = Some(Role::Viewer)).await;
    let token = signer.token(&header("EdDSA"), &claims("anna@farm.example"));
    assert!(proxy.is_taken(&token).await);
    let access = &proxy.site.bench.access;
    let open = || access.of_proxy("anna@farm.example", None, NOW + 300).expect("a caller").until;
    let (kept_out, over) = (open(), open());
    let change = UserChange { disabled: Some(true), ..UserChange::default() };
    access.change_user("anna@farm.example", change).expect("a change");
    assert!(kept_out.is_cancelled() && over.is_cancelled());
    assert!(!proxy.is_taken(&token).await, "unknown users come in, she does not");
    let change = UserChange { disabled: Some(false), ..UserChange::default() };
    access.change_user("anna@farm.example", change).expect("a change");
    let open = open();
    access.end_proxied(NOW + 299);
    assert!(!open.is_cancelled());
    access.end_proxied(NOW + 300);
    assert!(open.is_cancelled(), "the last token is over");
}

#[tokio::test]
async fn without_users_no_one_is_let_in_and_what_comes_by_the_proxy_is_not_the_box_itself() {
    let signer = Signer::ed25519();
    let proxy = Proxy::publishing(&[signer.published("k1")], |login| login.unknown_users = Some(Role::Viewer)).await;
    let bench = Bench::new();
    let config = proxy.site.page.config.clone();
    let empty =
        Proxy { site: Site::open_with(bench, config).await, file: tempfile::NamedTempFile::new().expect("a file") };
    let token = signer.token(&header("EdDSA"), &claims("anna@farm.example"));
    assert!(!empty.is_taken(&token).await);
    assert_eq!(empty.site.get("/api/v1/me").await.status, 401);
}

#[tokio::test]
async fn a_clock_that_is_not_synchronised_refuses_nothing_as_early_and_brings_no_old_token_back() {
    let signer = Signer::ed25519();
    let proxy = Proxy::publishing(&[signer.published("k1")], |_| {}).await;
    let at = |made: i64, ends: i64| {
        let mut claims = claims("anna@farm.example");
        (claims["iat"], claims["nbf"], claims["exp"]) = (made.into(), made.into(), ends.into());
        signer.token(&header("EdDSA"), &claims)
    };
    assert!(proxy.is_taken(&at(NOW, NOW + 300)).await);
    let (clock, day) = (&proxy.site.bench.clock, 24 * 3600);
    clock.step_wall(jiff::Timestamp::UNIX_EPOCH, TimeQuality::Unsynchronised);
    assert!(!proxy.is_taken(&at(NOW - 600, NOW - 300)).await, "over when the clock was right");
    assert!(proxy.is_taken(&at(NOW, NOW + 300)).await);
    assert!(proxy.is_taken(&at(NOW + 9 * day, NOW + 9 * day + 300)).await, "the box may be behind");
    assert!(!proxy.is_taken(&at(NOW, NOW + 300)).await, "a later token shows that this one is over");
    clock.advance(Duration::from_secs(400));
    assert!(!proxy.is_taken(&at(NOW + 9 * day, NOW + 9 * day + 300)).await, "its time passed here");
    assert!(!proxy.is_taken(&at(NOW + 9 * day, NOW + 11 * day)).await, "too long to be believed without a clock");
    assert!(!proxy.is_taken(&signer.token(&header("EdDSA"), &without("iat"))).await);
    clock.step_wall("2049-01-01T00:00:00Z".parse().expect("a time"), TimeQuality::Unsynchronised);
    assert!(!proxy.is_taken(&at(NOW + 10 * day, NOW + 10 * day + 300)).await, "over by the clock");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_exchanged_is_learned_and_the_one_before_counts_no_more() {
    let (first, second) = (Signer::ed25519(), Signer::p256());
    let proxy = Proxy::publishing(&[first.published("k1")], |_| {}).await;
    let (config, access) = (&proxy.site.page.config, &proxy.site.bench.access);
    let clock: Arc<dyn Clock> = proxy.site.bench.clock.clone();
    let login =
        ProxyLogin::new(config.proxy_login.as_ref(), proxy.site.folder.path(), &clock).expect("it is configured");
    let old = first.token(&header("EdDSA"), &claims("anna@farm.example"));
    let new = second.token(&json!({ "alg": "ES256", "kid": "k2" }), &claims("anna@farm.example"));
    let is_taken = async |token: &str| login.judge(access, token).await.is_ok();
    let exchange = async {
        assert!(is_taken(&old).await && !is_taken(&new).await);
        publish(&proxy.file, &[first.published("k1"), second.published("k2")]);
        while !is_taken(&new).await {}
        assert!(is_taken(&old).await);
        // What is no set of keys changes nothing.
        std::fs::write(proxy.file.path(), "{}").expect("damage");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(is_taken(&new).await && is_taken(&old).await);
        publish(&proxy.file, &[second.published("k2")]);
        while is_taken(&old).await {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(is_taken(&new).await);
    };
    tokio::select! {
        () = exchange => {}
        () = login.keep_current(access) => {}
    }
    // Another start finds the keys again, without their source.
    std::fs::remove_file(proxy.file.path()).expect("take the keys away");
    let login =
        ProxyLogin::new(config.proxy_login.as_ref(), proxy.site.folder.path(), &clock).expect("it is configured");
    tokio::select! {
        judged = login.judge(access, &new) => assert!(judged.is_ok(), "{judged:?}"),
        () = login.keep_current(access) => {}
    }
}

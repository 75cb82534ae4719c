//! Viewers of live video over a real socket.

use std::time::Duration;

use super::all_pages::PAGES;
use super::*;
use crate::access::{Role, UserChange};
use crate::frame::Packet;
use crate::live::Broadcast;
use crate::mux::tests::packets;

const X264: &str = "size=160x96 -t 2 -c:v libx264 -preset ultrafast -g 10 -bf 0 -pix_fmt yuv420p";

/// A box whose camera `yard` gave these packets.
fn filmed(film: &[Packet]) -> (Bench, Arc<Broadcast>) {
    let bench = Bench::new();
    let broadcast = bench.services.media.broadcast("yard").expect("a camera");
    film.iter().for_each(|packet| broadcast.packet(packet));
    (bench, broadcast)
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waits = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::waiting::PATIENCE, waits).await.expect(what);
}

impl Site {
    /// A WebSocket after its upgrade, from which nothing else was read.
    async fn look(&self, camera: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("connect");
        let request = format!(
            "GET /api/v1/cameras/{camera}/live HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.expect("ask");
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 101");
        stream
    }
}

#[tokio::test]
async fn a_viewer_that_takes_nothing_is_closed_and_one_that_leaves_is_gone() {
    let film = packets(X264, "a.ts");
    let (bench, broadcast) = filmed(&film[..12]);
    let site = Site::open(bench).await;
    let leaves = site.look("yard", "").await;
    until("it looks", || broadcast.viewers() == 1).await;
    drop(leaves);
    until("it is gone", || broadcast.viewers() == 0).await;

    let _takes_nothing = site.look("yard", "").await;
    until("it looks", || broadcast.viewers() == 1).await;
    // More than the system keeps for a connection.
    for packet in &film[13..19] {
        let data = [&packet.data[..], &vec![0xff; 4 << 20]].concat().into();
        broadcast.packet(&Packet { data, ..packet.clone() });
    }
    until("it is closed", || broadcast.viewers() == 0).await;
}

#[tokio::test]
async fn the_answer_to_a_viewer_begins_with_what_a_player_needs() {
    let (bench, broadcast) = filmed(&packets(X264, "a.ts")[..12]);
    let site = Site::open(bench).await;
    let mut stream = site.look("yard", "").await;
    let mut seen = Vec::new();
    while !seen.windows(4).any(|kind| kind == b"mdat") {
        let mut more = [0; 4096];
        let read = stream.read(&mut more).await.expect("read");
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&more[..read]);
    }
    let place = |what: &str| seen.windows(what.len()).position(|found| found == what.as_bytes()).expect(what);
    let header = r#"{"codec":"avc1.42C00A","width":160,"height":96,"start":78.0,"now":91.0}"#;
    let zones = r#"{"zones":[{"name":"yard","points":[[0.0,0.5],[1.0,0.5],[0.5,1.0]]}],"lines":[]}"#;
    let order = [place(header), place(zones), place("ftyp"), place("moov"), place("moof")];
    assert!(order.is_sorted(), "{order:?}");
    broadcast.close();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("it ends");
    assert!(String::from_utf8_lossy(&rest).contains("configured otherwise"));
}

#[tokio::test]
async fn a_view_ends_when_its_user_is_disabled() {
    let (bench, broadcast) = filmed(&packets(X264, "a.ts")[..12]);
    let site = Site::open(bench).await;
    for name in ["admin", "viewer"] {
        site.add(name, Role::Admin);
    }
    let (admin, viewer) = (site.cookie("admin").await, site.cookie("viewer").await);
    let (_stays, mut goes) = (site.look("yard", &admin).await, site.look("yard", &viewer).await);
    until("both look", || broadcast.viewers() == 2).await;
    let noted = site.ask("GET", "/api/v1/audit?text=live", &admin).await;
    assert!(noted.text().contains("/api/v1/cameras/yard/live") && noted.text().contains("viewer"), "{}", noted.text());
    let change = UserChange { disabled: Some(true), ..UserChange::default() };
    site.bench.access.change_user("viewer", change).expect("disabled");
    let mut rest = Vec::new();
    goes.read_to_end(&mut rest).await.expect("it ends");
    assert!(String::from_utf8_lossy(&rest).contains("this view was ended"));
    until("one is left", || broadcast.viewers() == 1).await;
}

/// Names of files that a page or script names: `/assets/x.js`, `./x.js`.
fn named_in(text: &str) -> Vec<String> {
    let is_of_name = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '.' | '_');
    let behind = |mark: &'static str| text.split(mark).skip(1).map(move |rest| rest.split(|c| !is_of_name(c)).next());
    behind("/assets/").chain(behind("\"./")).flatten().map(str::to_owned).collect()
}

#[tokio::test]
async fn each_page_is_small_with_all_that_it_loads_the_first_time() {
    let site = Site::open(Bench::new()).await;
    let size = async |path: &str| site.ask("GET", path, "Accept-Encoding: gzip\r\n").await.body.len();
    // A browser is sent the texts of one language.
    let texts = size("/assets/en.json").await.max(size("/assets/ja.json").await);
    let mut sizes = std::collections::BTreeMap::new();
    for path in PAGES.iter().chain(&["/"]) {
        let (mut bytes, mut known) = (size(path).await, std::collections::BTreeSet::new());
        let mut waiting = named_in(site.ask("GET", path, "").await.text());
        while let Some(name) = waiting.pop() {
            if name.ends_with(".json")
                || !pages::FILES.iter().any(|file| file.name == name)
                || !known.insert(name.clone())
            {
                continue;
            }
            bytes += size(&format!("/assets/{name}")).await;
            if name.ends_with(".js") {
                waiting.extend(named_in(site.ask("GET", &format!("/assets/{name}"), "").await.text()));
            }
        }
        assert!(known.len() >= 3, "{path}: {known:?}");
        sizes.insert(*path, bytes + texts);
    }
    assert!(sizes.values().all(|bytes| (20_000..60_000).contains(bytes)), "{sizes:?}");
}

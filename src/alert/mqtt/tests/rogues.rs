//! Brokers that misbehave, and those that ask for a certificate.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::bench::{Bench, Listener, Mosquitto, device_context, plain, until};
use crate::alert::mqtt::*;
use crate::control::{Control, Switches};

/// CONNACK of MQTT 5: success, and a keep-alive of one second, after which silence is noticed.
const WELCOME: [u8; 8] = [0x20, 0x06, 0x00, 0x00, 0x03, 0x13, 0x00, 0x01];

/// What a broker does with a connection.
#[derive(Clone, Copy, Debug)]
enum Trick {
    HangUp,
    Garbage,
    GarbageAfterWelcome,
    /// Says that a message of 256 MB comes, and sends as much of it as is taken.
    Huge,
    /// Confirms what was never sent.
    WrongConfirmations,
    /// Sends commands that were not subscribed to, and whose topics are nonsense.
    Uninvited,
    /// Refuses, with every reason in turn.
    Refuse(u8),
    /// Lets us in and never says anything again, pings included.
    HalfOpen,
}

async fn play(trick: Trick, mut socket: TcpStream) {
    let mut bytes = [0; 4096];
    // The greeting of the box.
    let _ = socket.read(&mut bytes).await;
    let said = match trick {
        Trick::HangUp => return,
        Trick::Garbage => vec![0xfe; 300],
        Trick::GarbageAfterWelcome => [&WELCOME[..], &[0x00; 64]].concat(),
        Trick::Huge => [&WELCOME[..], &[0x30, 0xff, 0xff, 0xff, 0x7f]].concat(),
        Trick::WrongConfirmations => [&WELCOME[..], &[0x40, 0x02, 0xff, 0xff, 0x40, 0x02, 0x00, 0x00]].concat(),
        Trick::Uninvited => {
            let command = b"outpost/box/camera/yard/detect/set";
            let topic = [&[0, command.len() as u8][..], command].concat();
            let of = |topic: &[u8], payload: &[u8]| {
                [&[0x30, (topic.len() + 1 + payload.len()) as u8], topic, &[0], payload].concat()
            };
            [WELCOME.to_vec(), of(&topic, b"OFF"), of(&[0, 2, 0xc3, 0x28], b"x"), of(&[0, 1, b'#'], b"x")].concat()
        }
        Trick::Refuse(code) => vec![0x20, 0x03, 0x00, code, 0x00],
        Trick::HalfOpen => WELCOME.to_vec(),
    };
    let _ = socket.write_all(&said).await;
    if let Trick::Huge = trick {
        while socket.write_all(&[0; 4096]).await.is_ok() {}
    }
    // Until the box hangs up.
    while let Ok(1..) = socket.read(&mut bytes).await {}
}

#[tokio::test]
async fn a_broker_that_misbehaves_in_every_way_costs_nothing_once_it_is_itself_again() {
    use Trick::{Garbage, GarbageAfterWelcome, HalfOpen, HangUp, Huge, Refuse, Uninvited, WrongConfirmations};
    let tricks = [HangUp, Garbage, GarbageAfterWelcome, Huge, WrongConfirmations, Uninvited, HalfOpen];
    let tricks: Vec<Trick> = tricks.into_iter().chain((0x80..=0x9f).map(Refuse)).collect();
    let broker = Mosquitto::start("");
    let mut listener = Listener::subscribe(broker.port, "outpost/box/camera/+/event").await;
    let front = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = front.local_addr().expect("address").port();
    let (seen, real) = (Arc::new(AtomicUsize::new(0)), broker.port);
    let (played, all) = (seen.clone(), tricks.len());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = front.accept().await {
            match tricks.get(played.fetch_add(1, Ordering::SeqCst)) {
                Some(trick) => drop(tokio::spawn(play(*trick, socket))),
                None => drop(tokio::spawn(async move {
                    let mut upstream = TcpStream::connect(("127.0.0.1", real)).await.expect("connect");
                    let _ = tokio::io::copy_bidirectional(&mut socket, &mut upstream).await;
                })),
            }
        }
    });
    let control = Control::default();
    let config = Config { keep_alive: Duration::from_secs(5), ..plain(port) };
    let bench = Bench::start_in(config, DeviceContext { control: control.clone(), ..device_context() });
    bench.queue.put(1..=100);
    let mut highest = 0;
    while highest < 100 {
        let seq = listener.next_seq_within(Duration::from_secs(120)).await;
        assert!(seq <= highest + 1, "{seq} came after {highest}");
        highest = highest.max(seq);
    }
    until("all are acknowledged", || bench.queue.look(|rows| rows.waiting.is_empty())).await;
    assert!(bench.queue.look(|rows| rows.rejected.is_empty()));
    assert!(seen.load(Ordering::SeqCst) > all, "every trick was played");
    assert_eq!(*control.switches(), Switches::default(), "an uninvited command was executed");
}

fn openssl(folder: &Path, args: &str) {
    let status =
        Command::new("openssl").args(args.split_whitespace()).current_dir(folder).stderr(Stdio::null()).status();
    assert!(status.expect("openssl runs").success(), "openssl {args}");
}

#[tokio::test]
async fn a_broker_that_asks_for_a_certificate_lets_in_who_has_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for ca in ["ca", "other"] {
        openssl(folder.path(), &format!("req -x509 {new_key} -keyout {ca}.key -out {ca}.crt -days 2 -subj /CN={ca}"));
    }
    for (name, ca) in [("localhost", "ca"), ("box", "ca"), ("stranger", "other")] {
        let san = "-addext subjectAltName=DNS:localhost";
        openssl(folder.path(), &format!("req {new_key} -keyout {name}.key -out {name}.csr -subj /CN={name} {san}"));
        let sign = format!("x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days 2");
        openssl(folder.path(), &format!("{sign} -copy_extensions copy -out {name}.crt"));
    }
    let broker = Mosquitto::start_in(
        folder,
        "cafile {dir}/ca.crt\ncertfile {dir}/localhost.crt\nkeyfile {dir}/localhost.key\nrequire_certificate true",
    );
    let with = |name: Option<&str>| {
        Bench::start(Config {
            url: format!("mqtts://localhost:{}", broker.port),
            ca_file: Some(broker.file("ca.crt")),
            client_cert_file: name.map(|name| broker.file(&format!("{name}.crt"))),
            client_key_file: name.map(|name| broker.file(&format!("{name}.key"))),
            client_id: Some(format!("box-{}", name.unwrap_or("unnamed"))),
            ..Config::default()
        })
    };
    let good = with(Some("box"));
    good.queue.put([1]);
    until("delivered with a certificate", || good.queue.look(|rows| rows.acked == [1])).await;
    for bad in [with(None), with(Some("stranger"))] {
        bad.queue.put([1]);
        bad.problem_with("certificate").await;
        assert!(bad.queue.look(|rows| rows.acked.is_empty()));
    }
    // A key that does not belong to the certificate.
    let mixed = Config { client_key_file: Some(broker.file("stranger.key")), ..Config::default() };
    let mixed = Bench::start(Config {
        url: format!("mqtts://localhost:{}", broker.port),
        ca_file: Some(broker.file("ca.crt")),
        client_cert_file: Some(broker.file("box.crt")),
        ..mixed
    });
    mixed.problem_with("do not work together").await;
}

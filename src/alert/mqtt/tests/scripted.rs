//! A broker that speaks MQTT 3.1.1 and 5 by hand, with the manners that real ones have.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a broker that knows only MQTT 3.1.1 answers the greeting of MQTT 5.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// A CONNACK of 3.1.1 with code 1, as RabbitMQ and Mosquitto before 1.6 do.
    OldConnack,
    /// A CONNACK of MQTT 5 with code 0x84.
    NewConnack,
    /// Closes without a word, as HiveMQ 3 does.
    Close,
}

/// What a client published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) version: u8,
    pub(super) topic: String,
    pub(super) bytes: usize,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// The reason with which a message is confirmed and not taken, if it is not.
pub(super) type Code = Box<dyn Fn(&Received) -> Option<u8> + Send + Sync>;

/// How the broker behaves.
pub(super) struct Manners {
    /// How it refuses MQTT 5.
    pub(super) refuses_five: Option<Refusal>,
    /// It does not take MQTT 3.1.1 either.
    pub(super) refuses_three: bool,
    /// QoS 0 is all that it takes.
    pub(super) qos_0_only: bool,
    /// It keeps nothing.
    pub(super) keeps_nothing: bool,
    /// What it answers by hanging up.
    pub(super) hangs_up_at: Box<dyn Fn(&Received) -> bool + Send + Sync>,
    /// What it confirms with a reason for not taking it, in MQTT 5.
    pub(super) refuses: Code,
    /// Whether it hangs up at a subscription.
    pub(super) hangs_up_at_subscription: bool,
    /// The reason that it gives when it does, in MQTT 5.
    pub(super) reason: Option<u8>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            refuses_five: None,
            refuses_three: false,
            qos_0_only: false,
            keeps_nothing: false,
            hangs_up_at: Box::new(|_| false),
            refuses: Box::new(|_| None),
            hangs_up_at_subscription: false,
            reason: None,
        }
    }
}

/// What was seen.
#[derive(Default)]
struct Seen {
    taken: Mutex<Vec<Received>>,
    greetings: Mutex<Vec<u8>>,
    hangups: AtomicUsize,
    subscriptions: AtomicUsize,
}

/// The broker; ends with the test.
pub(super) struct Scripted {
    pub(super) port: u16,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    pub(super) async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let (seen, manners) = (Arc::<Seen>::default(), Arc::new(manners));
        let of_task = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, manners) = (of_task.clone(), manners.clone());
                tokio::spawn(async move {
                    let _ = Visit { socket: BufReader::new(socket), version: 0, seen, manners }.serve().await;
                });
            }
        });
        Self { port, seen, task }
    }

    /// All that it took, in order.
    pub(super) fn taken(&self) -> Vec<Received> {
        self.seen.taken.lock().clone()
    }

    pub(super) fn has(&self, topic: &str) -> bool {
        self.taken().iter().any(|received| received.topic == topic)
    }

    /// Protocol levels of the greetings so far.
    pub(super) fn greetings(&self) -> Vec<u8> {
        self.seen.greetings.lock().clone()
    }

    /// How often it hung up.
    pub(super) fn hangups(&self) -> usize {
        self.seen.hangups.load(Ordering::SeqCst)
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.seen.subscriptions.load(Ordering::SeqCst)
    }
}

/// One client.
struct Visit {
    socket: BufReader<TcpStream>,
    version: u8,
    seen: Arc<Seen>,
    manners: Arc<Manners>,
}

/// Reads from a packet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(io::ErrorKind::InvalidData)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> io::Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn text(&mut self) -> io::Result<String> {
        let bytes = usize::from(self.u16()?);
        Ok(String::from_utf8_lossy(self.take(bytes)?).into_owned())
    }

    /// Properties, which are skipped.
    fn properties(&mut self) -> io::Result<()> {
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        self.take(length).map(|_| ())
    }
}

impl Visit {
    async fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let kind = self.socket.read_u8().await?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.socket.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).await?;
        Ok((kind, body))
    }

    async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    async fn serve(mut self) -> io::Result<()> {
        let (_, body) = self.packet().await?;
        if !self.greet(&body).await? {
            return Ok(());
        }
        loop {
            let (kind, body) = self.packet().await?;
            match kind >> 4 {
                3 if !self.publish(kind, &body).await? => return Ok(()),
                8 if !self.subscribe(&body).await? => return Ok(()),
                12 => self.say(&[0xd0, 0]).await?,
                14 => return Ok(()),
                _ => {}
            }
        }
    }

    /// Returns whether the client is let in.
    async fn greet(&mut self, body: &[u8]) -> io::Result<bool> {
        let mut fields = Fields(body);
        let (_, version, flags) = (fields.text()?, fields.u8()?, fields.u8()?);
        self.version = version;
        self.seen.greetings.lock().push(version);
        if version == 4 {
            let code = u8::from(self.manners.refuses_three);
            self.say(&[0x20, 2, 0, code]).await?;
            return Ok(code == 0);
        }
        match self.manners.refuses_five {
            Some(Refusal::OldConnack) => self.say(&[0x20, 2, 0, 1]).await?,
            Some(Refusal::NewConnack) => self.say(&[0x20, 3, 0, 0x84, 0]).await?,
            Some(Refusal::Close) => {}
            None => return self.welcome(flags).await,
        }
        Ok(false)
    }

    async fn welcome(&mut self, flags: u8) -> io::Result<bool> {
        let (will_qos, will_retain) = (flags >> 3 & 3, flags & 0x20 != 0);
        let refused = match &*self.manners {
            Manners { keeps_nothing: true, .. } if will_retain => Some(0x9a),
            Manners { qos_0_only: true, .. } if will_qos > 0 => Some(0x9b),
            _ => None,
        };
        if let Some(code) = refused {
            self.say(&[0x20, 3, 0, code, 0]).await?;
            return Ok(false);
        }
        let mut properties = Vec::new();
        if self.manners.qos_0_only {
            properties.extend([0x24, 0]);
        }
        if self.manners.keeps_nothing {
            properties.extend([0x25, 0]);
        }
        let length = properties.len() as u8;
        let packet = [&[0x20, 3 + length, 0, 0, length], &*properties].concat();
        self.say(&packet).await?;
        Ok(true)
    }

    async fn hang_up(&mut self) -> io::Result<bool> {
        self.seen.hangups.fetch_add(1, Ordering::SeqCst);
        if let (5, Some(code)) = (self.version, self.manners.reason) {
            self.say(&[0xe0, 2, code, 0]).await?;
        }
        Ok(false)
    }

    async fn publish(&mut self, kind: u8, body: &[u8]) -> io::Result<bool> {
        let (qos, retain) = (kind >> 1 & 3, kind & 1 != 0);
        let mut fields = Fields(body);
        let topic = fields.text()?;
        let id = if qos > 0 { fields.take(2)?.to_vec() } else { Vec::new() };
        if self.version == 5 {
            fields.properties()?;
        }
        let received = Received { version: self.version, topic, bytes: fields.0.len(), qos, retain };
        let manners = self.manners.clone();
        let is_refused = (manners.qos_0_only && qos > 0) || (manners.keeps_nothing && retain);
        if is_refused || (manners.hangs_up_at)(&received) {
            return self.hang_up().await;
        }
        if let Some(code) = (manners.refuses)(&received) {
            self.say(&[&[0x40, 3], &*id, &[code]].concat()).await?;
            return Ok(true);
        }
        self.seen.taken.lock().push(received);
        if qos > 0 {
            self.say(&[&[0x40, 2], &*id].concat()).await?;
        }
        Ok(true)
    }

    async fn subscribe(&mut self, body: &[u8]) -> io::Result<bool> {
        self.seen.subscriptions.fetch_add(1, Ordering::SeqCst);
        if self.manners.hangs_up_at_subscription {
            return self.hang_up().await;
        }
        let mut fields = Fields(body);
        let id = fields.take(2)?.to_vec();
        if self.version == 5 {
            fields.properties()?;
        }
        let mut codes = Vec::new();
        while !fields.0.is_empty() {
            let _ = fields.text()?;
            codes.push(fields.u8()? & 1);
        }
        let properties: &[u8] = if self.version == 5 { &[0] } else { &[] };
        let length = (2 + properties.len() + codes.len()) as u8;
        self.say(&[&[0x90, length], &*id, properties, &codes].concat()).await?;
        Ok(true)
    }
}

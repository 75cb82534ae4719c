//! A destination that lies: it says that it has what it lost, cut or changed, and forgets parts and whole uploads.

use super::*;

/// How often it lies, of a hundred answers; and its dice.
#[derive(Debug)]
struct Liar {
    inner: InMemory,
    lies: AtomicU32,
    dice: Mutex<fastrand::Rng>,
    reported: Mutex<HashMap<&'static str, u32>>,
    /// Objects as they were acknowledged to the uploader last.
    aborted: AtomicU32,
}

impl Liar {
    fn new(seed: u64) -> Self {
        Self {
            inner: InMemory::new(),
            lies: AtomicU32::new(60),
            dice: Mutex::new(fastrand::Rng::with_seed(seed)),
            reported: Mutex::default(),
            aborted: AtomicU32::new(0),
        }
    }

    /// Which lie it answers now, of `kinds`; none: the truth.
    fn lie(&self, kinds: &[&'static str]) -> Option<&'static str> {
        let mut dice = self.dice.lock();
        if dice.u32(0..100) >= self.lies.load(Ordering::SeqCst) {
            return None;
        }
        let kind = kinds[dice.usize(0..kinds.len())];
        *self.reported.lock().entry(kind).or_default() += 1;
        Some(kind)
    }
}

impl std::fmt::Display for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("liar")
    }
}

fn done() -> PutResult {
    PutResult { e_tag: Some("\"0\"".to_owned()), version: None, extensions: Default::default() }
}

#[async_trait::async_trait]
impl ObjectStore for Liar {
    async fn put_opts(&self, key: &Path, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        match self.lie(&["lost", "cut", "failed after all", "no link"]) {
            Some("lost") => Ok(done()),
            Some("cut") => {
                let bytes: Vec<u8> = payload.iter().flat_map(|piece| piece.iter().copied()).collect();
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default().to_vec();
                self.inner.put_opts(key, half.into(), opts).await
            }
            Some("failed after all") => {
                self.inner.put_opts(key, payload, opts).await?;
                Err(no_link())
            }
            Some(_) => Err(no_link()),
            None => self.inner.put_opts(key, payload, opts).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(key, opts).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        match self.lie(&["no link", "no link", "not there"]) {
            Some("not there") => Err(Error::NotFound { path: key.to_string(), source: "forgotten".into() }),
            Some(_) => Err(no_link()),
            None => self.inner.get_opts(key, options).await,
        }
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[async_trait::async_trait]
impl MultipartStore for Liar {
    async fn create_multipart(&self, key: &Path) -> object_store::Result<MultipartId> {
        match self.lie(&["no link"]) {
            Some(_) => Err(no_link()),
            None => self.inner.create_multipart(key).await,
        }
    }

    async fn put_part(
        &self,
        key: &Path,
        id: &MultipartId,
        index: usize,
        data: PutPayload,
    ) -> object_store::Result<PartId> {
        match self.lie(&["no link", "upload forgotten"]) {
            Some("upload forgotten") => Err(Error::NotFound { path: key.to_string(), source: "NoSuchUpload".into() }),
            Some(_) => Err(no_link()),
            None => self.inner.put_part(key, id, index, data).await,
        }
    }

    async fn complete_multipart(
        &self,
        key: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> object_store::Result<PutResult> {
        match self.lie(&["no link", "lost"]) {
            Some("lost") => Ok(done()),
            Some(_) => Err(no_link()),
            None => self.inner.complete_multipart(key, id, parts).await,
        }
    }

    async fn abort_multipart(&self, key: &Path, id: &MultipartId) -> object_store::Result<()> {
        self.aborted.fetch_add(1, Ordering::SeqCst);
        self.inner.abort_multipart(key, id).await
    }
}

fn start(bench: &Bench, liar: &Arc<Liar>) -> Running {
    let liar = liar.clone();
    bench.start_with("s3://bucket", move |limiter| Remote {
        store: liar.clone(),
        parts: Some(Parts(liar.clone() as Arc<dyn MultipartStore>)),
        smallest_part: 5 << 20,
        whole: Whole::Pieces,
        checksums: false,
        folder: None,
        limiter: limiter.clone(),
    })
}

/// Runs until every file was delivered or given up, with a restart in between.
async fn survive(seed: u64) {
    let mut bench = Bench::new();
    let big = bytes(BIG);
    let small: Vec<String> = (0..12).map(|n| format!("{n}.jpg")).collect();
    for name in &small {
        bench.add(name, name.as_bytes()).await;
    }
    bench.add("clip.mp4", &big).await;
    let liar = Arc::new(Liar::new(seed));
    let running = start(&bench, &liar);
    let lied = || liar.reported.lock().values().sum::<u32>();
    bench.until("some lies to be answered", async || lied() >= 12).await;
    running.stop().await;
    bench.open_store();
    let running = start(&bench, &liar);
    bench
        .until("more lies to be answered", async || lied() >= 24 || bench.outbox().waiting().await.expect("count") == 0)
        .await;
    // In the end it answers the truth, so that what was given up can be brought after all.
    liar.lies.store(0, Ordering::SeqCst);
    bench.until_drained().await;
    for letter in bench.outbox().dead_letters(100).await.expect("list") {
        assert_eq!((letter.attempts, letter.class.as_str()), (5, "wrong_answer"), "{letter:?}");
        bench.outbox().revive(letter.seq).await.expect("revive");
    }
    bench.until_drained().await;
    // Nothing that was begun is left to be paid for.
    let begun = || fs::read_to_string(bench.dir.path().join("box/uploads/cloud.begun.json")).unwrap_or_default();
    bench.until("what was begun has ended", async || matches!(begun().as_str(), "" | "{}")).await;
    running.stop().await;
    for name in &small {
        let key = bench.key(name);
        let kept = liar.inner.get(&key).await.expect("there").bytes().await.expect("read");
        assert_eq!(kept, name.as_bytes(), "seed {seed}");
    }
    let clip = liar.inner.get(&bench.key("clip.mp4")).await.expect("there").bytes().await.expect("read");
    assert!(clip == big, "seed {seed}");
    assert_eq!(bench.dead().await, [], "seed {seed}");
}

#[tokio::test]
async fn whatever_it_says_every_file_is_there_in_the_end_or_the_operator_sees_it() {
    for seed in 0..6 {
        survive(seed).await;
    }
}

//! A store in memory that misbehaves on demand.

use super::*;

/// A store in memory that misbehaves on demand.
#[derive(Debug, Default)]
pub(super) struct Fake {
    pub(super) inner: InMemory,
    /// The first so many requests of each kind fail for lack of a link.
    pub(super) flaky: u32,
    /// Keys that end like this are acknowledged and then reported with another size.
    pub(super) loses: Option<&'static str>,
    /// While true, everything is answered with 403.
    pub(super) locked: Mutex<bool>,
    /// The next put of this part fails, once.
    pub(super) breaks_part: Mutex<Option<usize>>,
    /// How long each put takes.
    pub(super) takes: Duration,
    /// Puts of keys that end like this wait for as long as it says so.
    pub(super) held: Mutex<Option<&'static str>>,
    /// Requests for a part of an object wait for as long as it says `true`, those for what it is while it says `false`.
    pub(super) held_reads: Mutex<Option<bool>>,
    /// Such a request waits, or has waited.
    pub(super) waiting_reads: AtomicBool,
    pub(super) requests: Mutex<HashMap<&'static str, u32>>,
    pub(super) parts_sent: AtomicU32,
}

impl Fake {
    fn request(&self, kind: &'static str) -> object_store::Result<()> {
        if *self.locked.lock() {
            let source = "Server returned non-2xx status code: 403 Forbidden: <Code>InvalidAccessKeyId</Code>".into();
            return Err(Error::PermissionDenied { path: "k".into(), source });
        }
        let mut requests = self.requests.lock();
        let count = requests.entry(kind).or_default();
        *count += 1;
        if *count > self.flaky { Ok(()) } else { Err(no_link()) }
    }
}

pub(super) fn no_link() -> Error {
    Error::Generic { store: "fake", source: "network is unreachable".into() }
}

impl std::fmt::Display for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("fake")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Fake {
    async fn put_opts(&self, key: &Path, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        self.request("put")?;
        tokio::time::sleep(self.takes).await;
        while self.held.lock().is_some_and(|end| key.as_ref().ends_with(end)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.inner.put_opts(key, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(key, opts).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.request("head")?;
        while *self.held_reads.lock() == Some(options.range.is_some()) {
            self.waiting_reads.store(true, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut got = self.inner.get_opts(key, options).await?;
        if self.loses.is_some_and(|end| key.as_ref().ends_with(end)) {
            got.meta.size -= 1;
            got.range = Range { start: 0, end: got.meta.size };
        }
        Ok(got)
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
impl MultipartStore for Fake {
    async fn create_multipart(&self, key: &Path) -> object_store::Result<MultipartId> {
        self.request("create")?;
        self.inner.create_multipart(key).await
    }

    async fn put_part(
        &self,
        key: &Path,
        id: &MultipartId,
        index: usize,
        data: PutPayload,
    ) -> object_store::Result<PartId> {
        self.request("part")?;
        if self.breaks_part.lock().take_if(|part| *part == index).is_some() {
            return Err(no_link());
        }
        self.parts_sent.fetch_add(1, Ordering::SeqCst);
        self.inner.put_part(key, id, index, data).await
    }

    async fn complete_multipart(
        &self,
        key: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> object_store::Result<PutResult> {
        self.request("complete")?;
        self.inner.complete_multipart(key, id, parts).await
    }

    async fn abort_multipart(&self, key: &Path, id: &MultipartId) -> object_store::Result<()> {
        self.inner.abort_multipart(key, id).await
    }
}

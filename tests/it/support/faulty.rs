//! A store whose calls fail by a plan.
//!
//! A plan decides for each call by the call itself and the number of calls before. The plan of [`Faulty::at_rate`] depends
//! on the seed, the call and its repetitions, never on the order of calls of other keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use telelake::mp4::BoxWalker;
use telelake::store::{
    Condition, Dialect, ListedObject, Resumed, Source, Store, StoreAddress, StoredObject, Unfinished, Upload,
    UploadOptions, Uploaded, Version,
};
use telelake::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::time::Duration;

/// An operation of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    Preflight,
    Probe,
    Get,
    Size,
    List,
    Put,
    Sync,
    Delete,
    Upload,
    Write,
    Complete,
    Abort,
}

impl Op {
    /// True if the operation changes the content of the store.
    pub fn is_write(self) -> bool {
        matches!(self, Self::Put | Self::Delete | Self::Upload | Self::Complete)
    }
}

/// A call of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    pub op: Op,
    pub key: String,
    /// True for a put under a condition.
    pub conditional: bool,
}

/// The fault of a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// No answer in time; nothing was done.
    Timeout,
    /// 503; nothing was done.
    SlowDown,
    /// The call was done, but the answer was lost.
    ReplyLost,
    /// A conditional write is lost against another writer that does not exist.
    Precondition,
    /// There is no space left.
    Full,
    /// The process dies before the call, or right after it was done; every later call fails.
    Death { applied: bool },
    /// The call is done after this time.
    Delay(Duration),
    /// The call waits before it is done; right after it, the process may die.
    Pause { gate: Arc<Gate>, dies: bool },
}

/// A gate at which a call waits.
#[derive(Debug, Default)]
pub struct Gate {
    reached: Notify,
    opened: Notify,
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Waits until a call has come to the gate.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Wakes up whoever waits for a call, because none will come any more.
    pub fn pass(&self) {
        self.reached.notify_one();
    }

    /// Lets the call continue.
    pub fn open(&self) {
        self.opened.notify_one();
    }
}

type Plan = dyn Fn(&Call, usize) -> Option<Fault> + Send + Sync;

/// A store whose calls fail by a plan. A clone is the same store.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Arc<Plan>,
    state: Arc<Mutex<CallHistory>>,
}

#[derive(Default)]
struct CallHistory {
    calls: Vec<Call>,
    dead: bool,
    faults: usize,
}

impl Faulty {
    pub fn new(
        inner: impl Store + 'static,
        plan: impl Fn(&Call, usize) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner: Arc::new(inner),
            plan: Arc::new(plan),
            state: Arc::default(),
        }
    }

    /// A store whose calls never fail and are only counted.
    pub fn counting(inner: impl Store + 'static) -> Self {
        Self::new(inner, |_, _| None)
    }

    /// A store of which a share of the calls fails, with faults by the seed. The same call fails at most twice in a row.
    pub fn at_rate(inner: impl Store + 'static, seed: u64, share: f64) -> Self {
        let met: Mutex<HashMap<Call, (u32, u32)>> = Mutex::default();
        Self::new(inner, move |call, _| {
            if matches!(call.op, Op::Preflight | Op::Probe) {
                return None;
            }
            let mut met = met.lock().unwrap();
            let (times, in_a_row) = met.entry(call.clone()).or_default();
            *times += 1;
            let name = format!("{seed}/{:?}/{}/{times}", call.op, call.key);
            let digest = Sha256::digest(name);
            let mut random = fastrand::Rng::with_seed(u64::from_le_bytes(digest[..8].try_into().unwrap()));
            if *in_a_row >= 2 || random.f64() >= share {
                *in_a_row = 0;
                return None;
            }
            *in_a_row += 1;
            Some(match random.u32(..5) {
                0 => Fault::Timeout,
                1 => Fault::SlowDown,
                2 => Fault::ReplyLost,
                3 if call.conditional => Fault::Precondition,
                _ => Fault::Full,
            })
        })
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The number of calls that failed by the plan.
    pub fn faults(&self) -> usize {
        self.state.lock().unwrap().faults
    }

    async fn call<T>(&self, call: Call, work: impl Future<Output = Result<T>>) -> Result<T> {
        let about = call.key.clone();
        let fault = {
            let mut state = self.state.lock().unwrap();
            if state.dead {
                return Err(gone(&about));
            }
            let fault = (self.plan)(&call, state.calls.len());
            state.calls.push(call);
            state.faults += usize::from(fault.is_some());
            state.dead |= matches!(fault, Some(Fault::Death { applied: false }));
            fault
        };
        let unavailable = || Error::new(ErrorKind::StoreUnavailable, "the store", "no answer in time");
        match fault {
            None => work.await,
            Some(Fault::Timeout) => Err(unavailable()),
            Some(Fault::SlowDown) => Err(Error::new(ErrorKind::Store, about, "503 SlowDown")),
            Some(Fault::ReplyLost) => work.await.and_then(|_| Err(unavailable())),
            Some(Fault::Precondition) => Err(Error::new(
                ErrorKind::Precondition,
                about,
                "another writer changed it meanwhile",
            )),
            Some(Fault::Full) => Err(Error::new(ErrorKind::Store, about, "No space left on device")),
            Some(Fault::Death { applied: false }) => Err(gone(&about)),
            Some(Fault::Death { applied: true }) => {
                let _ = work.await;
                self.state.lock().unwrap().dead = true;
                Err(gone(&about))
            }
            Some(Fault::Delay(pause)) => {
                tokio::time::sleep(pause).await;
                work.await
            }
            Some(Fault::Pause { gate, dies }) => {
                gate.reached.notify_one();
                gate.opened.notified().await;
                let done = work.await;
                if dies {
                    self.state.lock().unwrap().dead = true;
                    return Err(gone(&about));
                }
                done
            }
        }
    }
}

fn call(op: Op, key: &str) -> Call {
    Call {
        op,
        key: key.into(),
        conditional: false,
    }
}

/// The error of every call of a killed process.
fn gone(key: &str) -> Error {
    Error::new(ErrorKind::Interrupted, key, "the process is dead")
}

#[async_trait]
impl Store for Faulty {
    fn url(&self) -> &str {
        self.inner.url()
    }

    async fn preflight(&self) -> Result<()> {
        self.call(call(Op::Preflight, ""), self.inner.preflight()).await
    }

    fn address(&self) -> StoreAddress {
        self.inner.address()
    }

    async fn probe(&self) -> Result<Dialect> {
        self.call(call(Op::Probe, ""), self.inner.probe()).await
    }

    fn speak(&self, dialect: Dialect) {
        self.inner.speak(dialect);
    }

    async fn get(&self, key: &str) -> Result<StoredObject> {
        self.call(call(Op::Get, key), self.inner.get(key)).await
    }

    async fn read(&self, key: &str) -> Result<Bytes> {
        self.call(call(Op::Get, key), self.inner.read(key)).await
    }

    async fn get_within(&self, key: &str, most: u64) -> Result<StoredObject> {
        self.call(call(Op::Get, key), self.inner.get_within(key, most))
            .await
    }

    async fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes> {
        self.call(call(Op::Get, key), self.inner.get_range(key, offset, length))
            .await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        self.call(call(Op::Size, key), self.inner.size(key)).await
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        let call = Call {
            conditional: condition != Condition::Any,
            ..call(Op::Put, key)
        };
        self.call(call, self.inner.put(key, bytes, condition)).await
    }

    async fn put_relaxed(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.call(call(Op::Put, key), self.inner.put_relaxed(key, bytes))
            .await
    }

    async fn sync(&self) -> Result<()> {
        self.call(call(Op::Sync, ""), self.inner.sync()).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>> {
        self.call(call(Op::List, prefix), self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.call(call(Op::Delete, key), self.inner.delete(key)).await
    }

    async fn upload(&self, key: &str, options: UploadOptions) -> Result<Box<dyn Upload>> {
        let inner = self
            .call(call(Op::Upload, key), self.inner.upload(key, options))
            .await?;
        Ok(Box::new(FaultyUpload {
            inner,
            key: key.into(),
            store: self.clone(),
        }))
    }

    async fn resume(&self, key: &str) -> Result<Option<Resumed>> {
        let resumed = self.call(call(Op::Upload, key), self.inner.resume(key)).await?;
        Ok(resumed.map(|resumed| match resumed {
            Resumed::Open(inner) => Resumed::Open(Box::new(FaultyUpload {
                inner,
                key: key.into(),
                store: self.clone(),
            })),
            whole @ Resumed::Whole(_) => whole,
        }))
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        self.call(call(Op::Abort, &upload.key), self.inner.abort_upload(upload))
            .await
    }

    async fn unfinished_uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        self.call(call(Op::List, prefix), self.inner.unfinished_uploads(prefix))
            .await
    }
}

struct FaultyUpload {
    inner: Box<dyn Upload>,
    key: String,
    store: Faulty,
}

#[async_trait]
impl Upload for FaultyUpload {
    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn source(&self) -> &Source {
        self.inner.source()
    }

    fn boxes(&self) -> BoxWalker {
        self.inner.boxes()
    }

    async fn keep(self: Box<Self>) -> Result<()> {
        let keeping = self.inner.keep();
        self.store.call(call(Op::Abort, &self.key), keeping).await
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let writing = self.inner.write(chunk);
        self.store.call(call(Op::Write, &self.key), writing).await
    }

    async fn complete(self: Box<Self>) -> Result<Uploaded> {
        let completing = self.inner.complete();
        self.store.call(call(Op::Complete, &self.key), completing).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let aborting = self.inner.abort();
        self.store.call(call(Op::Abort, &self.key), aborting).await
    }
}

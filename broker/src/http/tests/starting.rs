//! The listener before the broker is ready, and the way from there to the real API.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use eventail_storage::disk_io::{Disk, DiskFile, DiskLock, OsDisk};
use http::Method;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::{HttpOptions, serve_on, serve_starting};
use super::support::{Client, DRAIN, Served};
use crate::config::Config;
use crate::{Broker, StartProgress};

/// A disk whose segments cannot be opened until a gate is.
#[derive(Clone, Debug, Default)]
struct Gated(Arc<(Mutex<bool>, Condvar)>);

impl Gated {
    fn open_gate(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Disk for Gated {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if path.extension().is_some_and(|suffix| suffix == "log") && path.to_string_lossy().contains("orders")
        {
            let _open = self.0.1.wait_while(self.0.0.lock().unwrap(), |open| !*open).unwrap();
        }
        OsDisk.open(path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.open_to_read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        OsDisk.lock(path)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_tells_how_far_it_is_and_then_the_api_is_there_under_the_same_address() {
    let served = Served::start().await;
    served.publish("orders", "1").await.ok(200);
    let folder = served.stop().await;
    let (disk, progress) = (Gated::default(), StartProgress::default());
    let starting = serve_starting("127.0.0.1:0".parse().unwrap(), progress.clone()).await.unwrap();
    let address = starting.addr();
    let builder = Broker::builder(Config::embedded(folder.path()));
    let opening = builder.disk(Arc::new(disk.clone())).progress(progress.clone()).open();
    let opening = tokio::spawn(opening);
    let ask = async |path: &str| Client::connect(address).await.ask(Method::GET, path, &[], "").await;

    let recovering = async {
        while progress.status().log.as_deref() != Some("orders") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), recovering).await.expect("it comes to the log that waits");
    let told = ask("/readyz").await.ok(503);
    assert_eq!((&told["ready"], &told["phase"]), (&false.into(), &"recovering".into()), "{told}");
    assert!(told["logs"].as_u64() > told["logs_done"].as_u64(), "{told}");
    assert!(told["bytes"].as_u64() > Some(0), "{told}");
    assert!(told["problems"][0][1].as_str().unwrap().contains("it is starting"), "{told}");
    ask("/healthz").await.ok(200);
    for path in ["/v1/topics", "/metrics", "/nowhere"] {
        let refused = ask(path).await;
        refused.problem(503, "starting");
        assert_eq!(refused.headers["retry-after"], "1", "{path}");
    }

    disk.open_gate();
    let broker = opening.await.unwrap().unwrap();
    assert!(progress.status().logs_done >= 1);
    let options = HttpOptions { ids: SmallRng::seed_from_u64(7), exposition: None };
    let server = serve_on(broker.clone(), starting.end().await.unwrap(), options).unwrap();
    assert_eq!(server.addr(), address);
    assert_eq!(ask("/readyz").await.ok(200)["ready"], true);
    ask("/v1/topics/orders").await.ok(200);
    server.shutdown(DRAIN).await;
    broker.shutdown().await.unwrap();
}

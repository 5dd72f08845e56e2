//! The function of the benches, on AWS's runtime client for Rust: it proves every event of its payload, writes down which and
//! when, and answers how many there were. A wrong byte is an error.
//!
//! `BENCH_RUN` and `BENCH_DATA_BYTES` say which events come; `BENCH_ARRIVALS` is the folder in which it writes.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use eventail_benches::clock::monotonic_ns;
use eventail_benches::function::{Arrival, INIT_FILE};
use eventail_benches::payload::Payloads;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

struct Function {
    payloads: Payloads,
    arrivals: std::fs::File,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let begun = monotonic_ns();
    let function = &Function::from_environment()?;
    let handle =
        async |event: LambdaEvent<Box<RawValue>>| function.prove(event.payload.get()).map_err(Error::from);
    Function::write_init(monotonic_ns() - begun)?;
    lambda_runtime::run(service_fn(handle)).await
}

fn variable(name: &'static str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

fn append(file: String) -> anyhow::Result<std::fs::File> {
    let path = PathBuf::from(variable("BENCH_ARRIVALS")?).join(file);
    Ok(std::fs::OpenOptions::new().create(true).append(true).open(path)?)
}

impl Function {
    fn from_environment() -> anyhow::Result<Self> {
        let payloads =
            Payloads::new(variable("BENCH_RUN")?.parse()?, variable("BENCH_DATA_BYTES")?.parse()?)?;
        Ok(Self { payloads, arrivals: append(std::process::id().to_string())? })
    }

    /// What the process did before it asked for its first call is not the host's.
    fn write_init(nanoseconds: u64) -> anyhow::Result<()> {
        Ok(append(INIT_FILE.to_owned())?.write_all(&nanoseconds.to_le_bytes())?)
    }

    /// Takes one event's data or an array of them.
    fn prove(&self, payload: &str) -> anyhow::Result<usize> {
        let at_ns = monotonic_ns();
        let events: Vec<&RawValue> = match payload.starts_with('[') {
            true => serde_json::from_str(payload)?,
            false => vec![serde_json::from_str(payload)?],
        };
        let mut written = Vec::with_capacity(events.len() * Arrival::BYTES);
        for event in &events {
            let n = self.payloads.check(event.get().as_bytes()).context("a wrong byte")?;
            written.extend_from_slice(&Arrival { n, at_ns }.encode());
        }
        (&self.arrivals).write_all(&written)?;
        Ok(events.len())
    }
}

//! One life of the broker's host: it opens the broker on its disk, looks at what it recovered, and lets everybody at it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use eventail_broker::Broker;
use eventail_broker::quic::{self, QuicServer};
use eventail_storage::disk::Steps;
use eventail_triggers::target::Target;
use tokio::time::Instant;

use crate::disk::{Process, ProcessDisk};
use crate::setup::{SCRIPTS, Script, config};
use crate::target::Scripted;
use crate::world::World;
use crate::{audit, network, operator, publisher};

/// How often the broker is asked whether it is well.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long connections may take to end in order.
const DRAIN: Duration = Duration::from_millis(500);

/// The targets: they outlive every broker.
#[derive(Clone)]
pub(crate) struct Targets(Vec<Arc<dyn Target>>);

impl Targets {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let target = |script| Arc::new(Scripted { world: Arc::clone(world), script }) as Arc<dyn Target>;
        Self(SCRIPTS.iter().map(target).collect())
    }

    pub(crate) fn of(&self, script: &'static Script) -> Arc<dyn Target> {
        let place = SCRIPTS.iter().position(|one| one.name == script.name).expect("one of the scripts");
        Arc::clone(&self.0[place])
    }
}

/// Lives until it is told to stop, or the process dies.
pub(crate) async fn live(world: Arc<World>, targets: Targets) {
    let process = Process::new(world.plan.write_ms, world.plan.read_ms);
    let (life, index, variant) = {
        let mut state = world.state();
        state.life += 1;
        (state.process, state.stop, state.is_sick, state.is_over) =
            (Some(Arc::clone(&process)), false, false, false);
        state.is_operating = false;
        (state.life, Arc::clone(&state.index), state.variant)
    };
    world.note("the broker starts");
    let disk = ProcessDisk { disk: world.disk.clone(), process: Arc::clone(&process) };
    let seed = world.plan.seed.wrapping_mul(1_000_003).wrapping_add(life);
    let opened = Broker::builder(config(&world.plan, variant, |script| targets.of(script)))
        .clock(world.clock.clone())
        .disk(Arc::new(disk))
        .index(index)
        .seed(seed)
        .store_worker(move |steps| work(steps, process))
        .open()
        .await;
    match opened {
        Ok(broker) => run(&world, &targets, broker).await,
        Err(error) => {
            world.note(format_args!("the broker does not start: {error}"));
            world.state().is_over = true;
        }
    }
}

async fn run(world: &Arc<World>, targets: &Targets, broker: Broker) {
    audit::after_start(world, &broker).await;
    world.state().broker = Some(broker.clone());
    for number in 0..world.plan.publishers {
        tokio::spawn(publisher::run(Arc::clone(world), broker.clone(), number));
    }
    let server = (world.plan.remotes > 0).then(|| listen(world, &broker));
    tokio::spawn(operator::run(Arc::clone(world), broker.clone(), targets.clone()));
    let mut is_auditing = false;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if world.is_healing() && world.state().remotes == 0 && !is_auditing {
            is_auditing = true;
            let (world, broker) = (Arc::clone(world), broker.clone());
            tokio::spawn(async move { audit::at_rest(&world, &broker).await });
        }
        let readiness = broker.readiness();
        if !readiness.ready {
            let mut state = world.state();
            state.is_sick = readiness.problems.iter().any(|(_, problem)| problem != "storage_full");
            if state.is_sick {
                drop(state);
                world.note(format_args!("the broker is sick: {:?}", readiness.problems));
            }
        }
        if world.state().stop {
            break;
        }
    }
    if let Some(server) = server {
        server.shutdown(DRAIN).await;
    }
    let ended = broker.shutdown().await;
    world.note(format_args!("the broker stopped: {ended:?}"));
    let mut state = world.state();
    state.broker = None;
    state.is_over = true;
}

/// Lets those in who come from afar.
fn listen(world: &Arc<World>, broker: &Broker) -> QuicServer {
    let certificate = network::certificate();
    let address = (Ipv4Addr::UNSPECIFIED, network::PORT).into();
    let files = (certificate.certificate.as_path(), certificate.key.as_path());
    let bind = |address, config| network::serve(world, address, config);
    quic::serve_on(broker.clone(), address, files, bind).expect("the simulated network has room")
}

/// Does the work of the store's threads, as slowly as the disk is.
fn work(steps: Arc<Steps>, process: Arc<Process>) {
    let (reads, reader) = (Arc::clone(&steps), Arc::clone(&process));
    tokio::spawn(async move {
        while reads.has_reads().await {
            tokio::time::sleep(Duration::from_millis(reader.read_ms())).await;
            reads.read();
        }
    });
    tokio::spawn(async move {
        let begun = Instant::now();
        let elapsed_ms = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        loop {
            let is_open = match steps.next_due_ms() {
                None => steps.has_writes().await,
                Some(due_ms) => {
                    let due = begun + Duration::from_millis(due_ms);
                    tokio::time::timeout_at(due, steps.has_writes()).await.unwrap_or(true)
                }
            };
            if !is_open {
                return;
            }
            tokio::time::sleep(Duration::from_millis(process.write_ms())).await;
            steps.write(elapsed_ms());
        }
    });
}

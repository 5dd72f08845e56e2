//! What the machine has: memory by which budgets are chosen where the configuration says nothing, and file descriptors.
//!
//! The choice is a pure function of the memory that this process may take: the least of the machine's and of the limits of its control
//! groups, of either version. So a reload chooses the same. A program that embeds the broker chooses for itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Past a hundred megabytes of events that wait for one sync, more of them only wait longer.
const IN_FLIGHT_BYTES: std::ops::RangeInclusive<u64> = 16 << 20..=128 << 20;
/// Followers that are a few seconds behind read from memory with that much.
const TAILS_BYTES: std::ops::RangeInclusive<u64> = 8 << 20..=64 << 20;
/// At up to [`DEDUP_ID_BYTES`] each.
const DEDUP_IDS: std::ops::RangeInclusive<u64> = 200_000..=10_000_000;
/// What a remembered id takes at most.
const DEDUP_ID_BYTES: u64 = 40;
/// Descriptors for listeners, the index, logs of the broker's own, and whatever else there are few of.
const DESCRIPTORS_BESIDE: u64 = 256;
/// Descriptors that a process of a function takes: its two pipes, its handle, its listener and a connection.
const DESCRIPTORS_PER_INSTANCE: u64 = 5;

/// Memory that this process may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) bytes: u64,
    /// What says so.
    pub(crate) by: &'static str,
}

/// What the system told, once for the life of the process: what is chosen must not change under a reload.
pub(crate) fn memory() -> &'static Memory {
    static MEMORY: OnceLock<Memory> = OnceLock::new();
    MEMORY.get_or_init(|| memory_by(&|path| std::fs::read_to_string(path).ok()))
}

/// Has the configuration's budgets fit into the memory, where it does not say them itself.
pub(crate) fn adapt(config: &mut Config, memory_bytes: u64) {
    let limits = &mut config.limits;
    if !limits.in_flight_is_told {
        let least = limits.batch_bytes_max.max(limits.event_bytes_max);
        limits.in_flight_bytes_max = share(memory_bytes, 16, IN_FLIGHT_BYTES).max(least);
    }
    let ids = share(memory_bytes, 8 * DEDUP_ID_BYTES, DEDUP_IDS);
    let topics = &mut config.topics;
    for options in std::iter::once(&mut topics.defaults).chain(topics.named.values_mut()) {
        if !options.dedup_ids_are_told {
            options.dedup_ids_max = ids;
        }
    }
}

/// What the tails of all logs may keep in memory.
pub(crate) fn tails_bytes(memory_bytes: u64) -> usize {
    share(memory_bytes, 32, TAILS_BYTES)
}

fn share(memory_bytes: u64, part: u64, range: std::ops::RangeInclusive<u64>) -> usize {
    usize::try_from((memory_bytes / part).clamp(*range.start(), *range.end())).unwrap_or(usize::MAX)
}

/// Says what was chosen, and raises the limit of file descriptors. For the start of a process that is the broker's own.
pub(crate) fn prepare(config: &Config) {
    let Memory { bytes: memory_bytes, by } = memory();
    tracing::info!(
        memory_bytes,
        by,
        in_flight_bytes_max = config.limits.in_flight_bytes_max,
        in_flight_by = if config.limits.in_flight_is_told { "configuration" } else { "memory" },
        dedup_ids_max = config.topics.defaults.dedup_ids_max,
        dedup_ids_by = if config.topics.defaults.dedup_ids_are_told { "configuration" } else { "memory" },
        tails_bytes_max = tails_bytes(*memory_bytes),
        "budgets chosen"
    );
    let (wanted, got) = (descriptors_wanted(config), raise_descriptors());
    if got < wanted {
        tracing::warn!(
            limit = got,
            wanted,
            connections_max = config.limits.connections_max,
            topics_max = config.limits.topics_max,
            "the limit of file descriptors is too low for the configuration: raise it (ulimit -n, LimitNOFILE=), or lower limits.connections_max and limits.topics_max"
        );
    } else {
        tracing::debug!(limit = got, wanted, "the limit of file descriptors is high enough");
    }
}

/// Raises the soft limit to the hard one; answers what holds now.
fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of file descriptors could not be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Descriptors that the configuration can come to need: connections in, calls out, topics, functions.
fn descriptors_wanted(config: &Config) -> u64 {
    let connections = if config.http.is_some() { config.limits.connections_max as u64 } else { 0 };
    let calls: u64 = config.triggers.values().map(|trigger| trigger.policy.concurrency as u64).sum();
    let functions = config.functions.values();
    let instances: u64 =
        functions.map(|function| function.max_instances as u64 * DESCRIPTORS_PER_INSTANCE).sum();
    // Topics that there are not take none; the configuration's own are sure to come.
    let topics = config.topics.named.len().max(config.triggers.len()) as u64;
    DESCRIPTORS_BESIDE + connections + calls + instances + topics
}

type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

fn memory_by(read: Read<'_>) -> Memory {
    let machine = read(Path::new("/proc/meminfo")).as_deref().and_then(total_of_meminfo);
    // Where nothing tells, a small machine is assumed.
    let machine = Memory { bytes: machine.unwrap_or(1 << 30), by: "machine" };
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| limit_of_group(line, read));
    limits
        .chain([machine])
        .min_by_key(|memory| memory.bytes)
        .unwrap_or(Memory { bytes: 1 << 30, by: "machine" })
}

fn total_of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of a group and of those above it: any of them may end the process. A line is `number:controllers:path`.
fn limit_of_group(line: &str, read: Read<'_>) -> Option<Memory> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (root, file, by) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max", "cgroup v2")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "cgroup v1")
    } else {
        return None;
    };
    // Within a container the path may be that of the outside: then its own group is the root that it sees.
    let own = path.trim_start_matches('/');
    let folders = Path::new(own).ancestors().map(|folder| PathBuf::from(root).join(folder));
    let limits = folders.filter_map(|folder| read(&folder.join(file))?.trim().parse::<u64>().ok());
    limits.min().map(|bytes| Memory { bytes, by })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn told(files: &[(&str, &str)]) -> Memory {
        let files: BTreeMap<_, _> = files.iter().map(|(path, text)| (PathBuf::from(path), *text)).collect();
        memory_by(&|path| files.get(path).map(|text| (*text).to_owned()))
    }

    const MACHINE: (&str, &str) = ("/proc/meminfo", "MemTotal:       24000000 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_least_limit_of_all_groups_above_holds() {
        let memory = told(&[
            MACHINE,
            ("/proc/self/cgroup", "0::/system.slice/eventail.service\n"),
            ("/sys/fs/cgroup/system.slice/eventail.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "536870912\n"),
        ]);
        assert_eq!(memory, Memory { bytes: 512 << 20, by: "cgroup v2" });
        let memory = told(&[
            MACHINE,
            ("/proc/self/cgroup", "12:cpu,cpuacct:/a\n5:memory:/docker/abc\n0::/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
        ]);
        assert_eq!(memory, Memory { bytes: 256 << 20, by: "cgroup v1" });
    }

    #[test]
    fn without_a_limit_the_machine_holds_and_without_anything_a_small_one() {
        let unlimited = [
            MACHINE,
            ("/proc/self/cgroup", "5:memory:/\n0::/\n"),
            ("/sys/fs/cgroup/memory.max", "max"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(told(&unlimited), Memory { bytes: 24_000_000 << 10, by: "machine" });
        assert_eq!(told(&[]), Memory { bytes: 1 << 30, by: "machine" });
        assert!(memory().bytes > 0);
    }

    #[test]
    fn budgets_grow_with_the_memory_between_their_bounds() {
        let of = |memory: u64| {
            let mut config = Config::standalone();
            adapt(&mut config, memory);
            (config.limits.in_flight_bytes_max, config.topics.defaults.dedup_ids_max, tails_bytes(memory))
        };
        assert_eq!(of(64 << 20), (16 << 20, 209_715, 8 << 20));
        assert_eq!(of(512 << 20), (32 << 20, 1_677_721, 16 << 20));
        assert_eq!(of(64 << 30), (128 << 20, 10_000_000, 64 << 20));
    }

    #[test]
    fn what_the_configuration_says_holds() {
        let text = "[limits]\nin_flight_bytes_max = \"100MiB\"\nbatch_bytes_max = \"16MiB\"\n\
            [topics]\ndedup_ids_max = 5\n[topics.a]\n[topics.b]\ndedup_ids_max = 6\n";
        let mut config = Config::parse("eventail.toml", text, &|_| None).unwrap();
        adapt(&mut config, 64 << 20);
        assert_eq!(config.limits.in_flight_bytes_max, 100 << 20);
        let ids: Vec<_> = config.topics.named.values().map(|topic| topic.dedup_ids_max).collect();
        assert_eq!((config.topics.defaults.dedup_ids_max, ids), (5, vec![5, 6]));
        let mut config = Config::standalone();
        config.limits.batch_bytes_max = 20 << 20;
        adapt(&mut config, 64 << 20);
        assert_eq!(config.limits.in_flight_bytes_max, 20 << 20, "a batch must fit into it");
    }

    #[test]
    fn descriptors_are_counted_by_the_configuration() {
        let mut config = Config::standalone();
        config.limits.connections_max = 1_000;
        let few = descriptors_wanted(&config);
        assert!((1_000..2_000).contains(&few), "{few}");
        config.http = None;
        assert_eq!(descriptors_wanted(&config), few - 1_000);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let got = raise_descriptors();
        assert_eq!(Some(got), getrlimit(Resource::Nofile).maximum.or(Some(u64::MAX)));
    }
}

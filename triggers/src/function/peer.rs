//! Who is at the other end of a connection to an instance's Runtime API: only the instance itself is let in.
//!
//! The Runtime API knows no password, and its ports are open to every program of the machine. So the kernel is asked whose
//! socket the other end is: it has to be the user's that the instance runs as, and it has to be held by the instance's process,
//! by one of its group, or by one that descends from it. Where the kernel does not let us see a process's descriptors, the
//! user decides alone. A socket that nobody holds any more (its process has ended) belongs to nobody, and is refused.
//!
//! Nothing here waits for anybody, but all of it asks the kernel: call it off the runtime's own threads.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use rustix::process::Pid;
use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel calls the request and its answer.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
/// The heads of a message, of a request and of an answer.
const MESSAGE_BYTES: usize = 16;
const ANSWER_BYTES: usize = MESSAGE_BYTES + 72;
/// The kernel answers while it is asked; this is for one that does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("it belongs to user {user}, and the function runs as {wanted}")]
    OtherUser { user: u32, wanted: u32 },
    #[error("it belongs to no process of the function")]
    OtherProcess,
    #[error("it is not known whose it is")]
    Unknown(#[source] io::Error),
}

/// The one who may connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// The instance's first process. It must not have been reaped yet: its number could be another's.
    pub(super) leader: Pid,
    /// The user that it runs as.
    pub(super) user: u32,
}

/// A socket, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    user: u32,
    inode: u32,
}

/// Tells whether the socket with the address `theirs`, which is connected to our `ours`, belongs to the instance.
///
/// # Errors
/// It does not, or that cannot be told.
pub(super) fn check(owner: Owner, theirs: SocketAddrV4, ours: SocketAddrV4) -> Result<(), Refused> {
    let held = ask(theirs, ours).or_else(|_| look_up(theirs, ours)).map_err(Refused::Unknown)?;
    if held.inode == 0 {
        return Err(Refused::OtherProcess);
    }
    if held.user != owner.user {
        return Err(Refused::OtherUser { user: held.user, wanted: owner.user });
    }
    match holds(owner.leader.as_raw_pid(), held.inode) {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        // Not even the instance itself can be looked at.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(Refused::Unknown(error)),
    }
    let members = members(owner.leader.as_raw_pid(), &processes().map_err(Refused::Unknown)?);
    // One that is gone meanwhile holds nothing.
    if members.into_iter().any(|member| holds(member, held.inode).unwrap_or(false)) {
        return Ok(());
    }
    Err(Refused::OtherProcess)
}

/// Asks the kernel for one socket (`sock_diag(7)`).
fn ask(theirs: SocketAddrV4, ours: SocketAddrV4) -> io::Result<Held> {
    let kernel = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(libc::NETLINK_SOCK_DIAG)),
    )?;
    kernel.set_read_timeout(Some(ANSWER_WITHIN))?;
    kernel.send(&question(theirs, ours))?;
    let mut answer = [0; 4096];
    let read = (&kernel).read(&mut answer)?;
    answered(&answer[..read], ours).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// `nlmsghdr` and `inet_diag_req_v2`: the TCP socket of this machine at `theirs`, connected to `ours`.
fn question(theirs: SocketAddrV4, ours: SocketAddrV4) -> Vec<u8> {
    let mut body = vec![libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0];
    // In whatever state it is.
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(theirs.port().to_be_bytes());
    body.extend(ours.port().to_be_bytes());
    for address in [theirs.ip(), ours.ip()] {
        body.extend(address.octets());
        body.extend([0; 12]);
    }
    // Any interface, and no cookie.
    body.extend([0; 4]);
    body.extend([0xff; 8]);
    let mut message = Vec::with_capacity(MESSAGE_BYTES + body.len());
    message.extend(u32::try_from(MESSAGE_BYTES + body.len()).unwrap_or_default().to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// `nlmsghdr` and `inet_diag_msg`: whose socket it is. `None` where there is no such socket, or the kernel means another one
/// (where none is connected it names one that listens at that port).
fn answered(answer: &[u8], ours: SocketAddrV4) -> Option<Held> {
    let answer: &[u8; ANSWER_BYTES] = answer.first_chunk()?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let body = &answer[MESSAGE_BYTES..];
    let connected_to = u16::from_be_bytes([body[6], body[7]]);
    if kind != SOCK_DIAG_BY_FAMILY || connected_to != ours.port() {
        return None;
    }
    let number = |at: usize| body[at..].first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    Some(Held { user: number(64)?, inode: number(68)? })
}

/// The same from the tables of all sockets, for systems that do not answer: slower the more connections there are.
fn look_up(theirs: SocketAddrV4, ours: SocketAddrV4) -> io::Result<Held> {
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match std::fs::read_to_string(table) {
            Ok(text) => {
                if let Some(held) = find(&text, theirs, ours) {
                    return Ok(held);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn find(table: &str, theirs: SocketAddrV4, ours: SocketAddrV4) -> Option<Held> {
    let [from, to] = [theirs, ours].map(shown);
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (fields.next()?, fields.next()?);
        // An IPv6 socket has an IPv4 address at the end of its own.
        (local.ends_with(&from) && remote.ends_with(&to)).then_some(())?;
        Some(Held { user: fields.nth(4)?.parse().ok()?, inode: fields.nth(1)?.parse().ok()? })
    })
}

/// An address as the tables have it: its bytes as one number of this machine, and the port.
fn shown(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

/// Whether a process has a descriptor of the socket.
fn holds(process: i32, inode: u32) -> io::Result<bool> {
    let wanted = format!("socket:[{inode}]");
    let mut folder = String::new();
    // Writing to a text never fails.
    write!(folder, "/proc/{process}/fd").ok();
    for entry in std::fs::read_dir(&folder)? {
        let link = std::fs::read_link(entry?.path());
        if link.is_ok_and(|link| link.as_os_str() == wanted.as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A process and what it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProcessLine {
    process: i32,
    parent: i32,
    group: i32,
}

fn processes() -> io::Result<Vec<ProcessLine>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that is gone meanwhile is none.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        all.extend(process_line(process, &stat));
    }
    Ok(all)
}

/// `PID (NAME) STATE PARENT GROUP …`; a name may have anything in it, parentheses too.
fn process_line(process: i32, stat: &str) -> Option<ProcessLine> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(1);
    Some(ProcessLine { process, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

/// The processes of the leader's group, and all that descend from it or from them.
fn members(leader: i32, all: &[ProcessLine]) -> BTreeSet<i32> {
    let mut members = BTreeSet::from([leader]);
    loop {
        let known = members.len();
        let is_one = |line: &&ProcessLine| line.group == leader || members.contains(&line.parent);
        let found: Vec<i32> = all.iter().filter(is_one).map(|line| line.process).collect();
        members.extend(found);
        if members.len() == known {
            return members;
        }
    }
}

/// The IPv4 addresses of both ends of a connection; the listener has no others.
pub(super) fn ends(stream: &tokio::net::TcpStream) -> io::Result<(SocketAddrV4, SocketAddrV4)> {
    let of = |address| match address {
        std::net::SocketAddr::V4(address) => address,
        std::net::SocketAddr::V6(address) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, address.port()),
    };
    Ok((of(stream.peer_addr()?), of(stream.local_addr()?)))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        let SocketAddr::V4(address) = address else { panic!("{address} is not of IPv4") };
        address
    }

    fn owner() -> Owner {
        Owner { leader: rustix::process::getpid(), user: rustix::process::geteuid().as_raw() }
    }

    #[test]
    fn a_socket_of_this_process_is_its_own_in_both_ways_to_ask() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = v4(listener.local_addr().unwrap());
        let client = TcpStream::connect(ours).unwrap();
        let theirs = v4(client.local_addr().unwrap());
        let listed = look_up(theirs, ours).unwrap();
        assert_eq!(listed.user, owner().user);
        assert!(holds(owner().leader.as_raw_pid(), listed.inode).unwrap());
        if let Ok(asked) = ask(theirs, ours) {
            assert_eq!(asked, listed);
        }
        check(owner(), theirs, ours).unwrap();
    }

    #[test]
    fn a_socket_of_an_ipv6_family_counts_as_the_ipv4_one_that_it_is() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = v4(listener.local_addr().unwrap());
        let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), ours.port()));
        // Not every machine has IPv6.
        let Ok(client) = TcpStream::connect(mapped) else { return };
        let theirs = SocketAddrV4::new(Ipv4Addr::LOCALHOST, client.local_addr().unwrap().port());
        assert_eq!(look_up(theirs, ours).unwrap().user, owner().user);
        check(owner(), theirs, ours).unwrap();
    }

    #[test]
    fn a_socket_of_another_process_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = v4(listener.local_addr().unwrap());
        let client = TcpStream::connect(ours).unwrap();
        let theirs = v4(client.local_addr().unwrap());
        let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let leader = Pid::from_child(&other);
        let refused = check(Owner { leader, ..owner() }, theirs, ours);
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(matches!(refused, Err(Refused::OtherProcess)), "{refused:?}");
        let user = owner().user + 1;
        let refused = check(Owner { user, ..owner() }, theirs, ours);
        assert!(matches!(refused, Err(Refused::OtherUser { .. })), "{refused:?}");
    }

    #[test]
    fn a_socket_that_nobody_holds_any_more_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = v4(listener.local_addr().unwrap());
        let client = TcpStream::connect(ours).unwrap();
        let theirs = v4(client.local_addr().unwrap());
        drop(client);
        assert!(check(owner(), theirs, ours).is_err());
        let nobodys = SocketAddrV4::new(Ipv4Addr::LOCALHOST, ours.port());
        assert!(check(owner(), nobodys, ours).is_err(), "one that listens is not connected");
    }

    #[test]
    fn the_table_is_read_by_both_ends() {
        let (theirs, ours) = ("127.0.0.1:53064".parse().unwrap(), "127.0.0.1:52751".parse().unwrap());
        let [from, to] = [theirs, ours].map(shown);
        let table = format!(
            "  sl  local_address rem_address st\n   0: {to} 00000000:0000 0A 0:1 00:0 0 0 0 7 2\n   1: {to} {from} 01 0:0 00:0 0 5 0 8 1\n   2: {from} {to} 01 0:0 00:0 0 1000 0 9 1\n"
        );
        assert_eq!(find(&table, theirs, ours), Some(Held { user: 1000, inode: 9 }));
        assert_eq!(find(&table, ours, ours), None);
    }

    #[test]
    fn descendants_belong_to_the_instance_also_in_groups_of_their_own() {
        let line = |process, parent, group| ProcessLine { process, parent, group };
        let all = [
            line(1, 0, 1),
            line(13, 12, 13),
            line(12, 10, 12),
            line(10, 1, 10),
            line(11, 1, 10),
            line(20, 1, 20),
        ];
        assert_eq!(members(10, &all), BTreeSet::from([10, 11, 12, 13]));
        assert_eq!(process_line(7, "7 (a) b (c) S 3 5 5 0"), Some(line(7, 3, 5)));
        assert_eq!(process_line(7, "7"), None);
    }
}

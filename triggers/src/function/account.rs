//! The user that a function runs as: from the words of the configuration to the numbers of the system.
//!
//! Names are looked up in `/etc/passwd` and `/etc/group`, which is what every image has; users of a directory service go by
//! their numbers. Nothing is cached: an instance that starts is told by the files as they are then.

use std::io;
use std::path::PathBuf;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Why a function cannot run as the user that is configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// No such user.
    #[error("there is no user `{user}` in /etc/passwd")]
    UnknownUser {
        /// As configured.
        user: String,
    },
    /// No such group.
    #[error("there is no group `{group}` in /etc/group")]
    UnknownGroup {
        /// As configured.
        group: String,
    },
    /// A number without an entry, and no group beside it.
    #[error("user {user} is not in /etc/passwd: its `group` has to be given")]
    NoGroup {
        /// Its number.
        user: u32,
    },
    /// The broker may not become another user.
    #[error(
        "the broker may not run a function as user {user}, group {group}: it has to be started as root (or with CAP_SETUID and CAP_SETGID)"
    )]
    NotAllowed {
        /// The user's number.
        user: u32,
        /// The group's number.
        group: u32,
    },
    /// The limit would limit nothing.
    #[error(
        "`processes_max` limits nothing for user 0: the kernel lets root have as many processes as it likes"
    )]
    Unlimited,
    /// A file could not be read.
    #[error("{file} cannot be read")]
    Unreadable {
        /// Which.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A user of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
    /// As `/etc/passwd` has it.
    pub(super) name: Option<String>,
    pub(super) home: Option<PathBuf>,
}

impl Account {
    /// Looks up a user and, where it is not to be the user's own, a group; each a name or a number.
    ///
    /// # Errors
    /// It is not there, or the broker may not become it.
    pub(super) fn find(user: &str, group: Option<&str>) -> Result<Self, AccountError> {
        let read =
            |file| std::fs::read_to_string(file).map_err(|source| AccountError::Unreadable { file, source });
        let users = match read(PASSWD) {
            // Without the file a number with a group is still a user.
            Err(_) if user.parse::<u32>().is_ok() => String::new(),
            outcome => outcome?,
        };
        let groups = match group {
            Some(name) if name.parse::<u32>().is_err() => read(GROUP)?,
            _ => String::new(),
        };
        let account = look_up(user, group, &users, &groups)?;
        if account.is_ours() || may_become_others() {
            return Ok(account);
        }
        Err(AccountError::NotAllowed { user: account.user, group: account.group })
    }

    /// Whether the broker runs as this user itself.
    pub(super) fn is_ours(&self) -> bool {
        self.user == geteuid().as_raw() && self.group == getegid().as_raw()
    }
}

fn may_become_others() -> bool {
    let wanted = CapabilitySet::SETUID | CapabilitySet::SETGID;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}

/// The entry of a user among the lines of `/etc/passwd`: `name:password:user:group:comment:home:shell`.
fn look_up(user: &str, group: Option<&str>, users: &str, groups: &str) -> Result<Account, AccountError> {
    let number: Option<u32> = user.parse().ok();
    let entry = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[name, _, entry_user, entry_group, _, home, ..] = &fields[..] else { return None };
        let entry_user = entry_user.parse().ok()?;
        let is_it = name == user || Some(entry_user) == number;
        is_it.then(|| (name.to_owned(), entry_user, entry_group.parse::<u32>().ok(), PathBuf::from(home)))
    });
    let named_group = group.map(|group| look_up_group(group, groups)).transpose()?;
    match (entry, number) {
        (Some((name, user, own_group, home)), _) => {
            let group = named_group.or(own_group).ok_or(AccountError::NoGroup { user })?;
            Ok(Account { user, group, name: Some(name), home: Some(home) })
        }
        (None, Some(user)) => {
            let group = named_group.ok_or(AccountError::NoGroup { user })?;
            Ok(Account { user, group, name: None, home: None })
        }
        (None, None) => Err(AccountError::UnknownUser { user: user.to_owned() }),
    }
}

/// The number of a group among the lines of `/etc/group`: `name:password:group:members`.
fn look_up_group(group: &str, groups: &str) -> Result<u32, AccountError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then_some(())?;
        fields.nth(1)?.parse().ok()
    });
    number.ok_or_else(|| AccountError::UnknownGroup { group: group.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\n# a remark\nworker:x:1001:1002:A Worker,,,:/srv/worker:/bin/false\nbroken:x:12\n";
    const GROUPS: &str = "root:x:0:\nvideo:x:44:worker,other\n";

    fn found(user: &str, group: Option<&str>) -> Result<Account, String> {
        look_up(user, group, USERS, GROUPS).map_err(|error| error.to_string())
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number_with_its_own_group() {
        let worker = Account {
            user: 1001,
            group: 1002,
            name: Some("worker".to_owned()),
            home: Some("/srv/worker".into()),
        };
        assert_eq!(found("worker", None).unwrap(), worker);
        assert_eq!(found("1001", None).unwrap(), worker);
        assert_eq!(found("worker", Some("video")).unwrap(), Account { group: 44, ..worker.clone() });
        assert_eq!(found("worker", Some("7")).unwrap(), Account { group: 7, ..worker });
    }

    #[test]
    fn a_number_without_an_entry_needs_a_group() {
        assert_eq!(
            found("4242", Some("4243")).unwrap(),
            Account { user: 4242, group: 4243, name: None, home: None }
        );
        assert_eq!(
            found("4242", None).unwrap_err(),
            "user 4242 is not in /etc/passwd: its `group` has to be given"
        );
    }

    #[test]
    fn what_is_not_there_is_told_by_its_name() {
        assert_eq!(found("nemo", None).unwrap_err(), "there is no user `nemo` in /etc/passwd");
        assert_eq!(found("broken", None).unwrap_err(), "there is no user `broken` in /etc/passwd");
        assert_eq!(found("worker", Some("crew")).unwrap_err(), "there is no group `crew` in /etc/group");
    }

    #[test]
    fn the_brokers_own_user_is_always_allowed() {
        let (user, group) = (geteuid().as_raw().to_string(), getegid().as_raw().to_string());
        assert!(Account::find(&user, Some(&group)).unwrap().is_ours());
    }
}

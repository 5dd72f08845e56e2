//! The paths that a topic's patterns name, as a tree of steps that a scan walks along with the event.
//!
//! Keys of patterns and events are joined with dots, so a step is what stands between two dots, and a key with dots in it
//! is several steps.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use rapidhash::fast::RapidHasher;

/// Hashing for tables that are built from patterns alone, so that no event can crowd them.
pub(super) type Hashing = BuildHasherDefault<RapidHasher<'static>>;

/// The number of a path.
pub(super) type PathId = usize;

/// Children up to here are compared one by one, which is faster than hashing.
const LISTED_MAX: usize = 8;

/// A place in the tree.
pub(super) type StepId = usize;

/// The root of the tree.
pub(super) const ROOT: StepId = 0;

#[derive(Debug, Default)]
struct Step {
    path: Option<PathId>,
    /// Whether a step below it leads on, so that a key with dots may lead somewhere.
    is_deep: bool,
    listed: Vec<Listed>,
    hashed: HashMap<Box<[u8]>, StepId, Hashing>,
}

/// One of few steps that another leads on to.
#[derive(Debug)]
struct Listed {
    /// What [`word`] makes of the name.
    word: u64,
    name: Box<[u8]>,
    step: StepId,
}

/// A number for a name: different for any two names of the same length up to eight bytes.
#[inline]
fn word(name: &[u8]) -> u64 {
    if let Some(first) = name.first_chunk() {
        return u64::from_le_bytes(*first);
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return u64::from(u32::from_le_bytes(*first)) | (u64::from(u32::from_le_bytes(*last)) << 32);
    }
    let [first, last] = [name.first(), name.last()].map(|byte| u64::from(byte.copied().unwrap_or_default()));
    let middle = u64::from(name.get(name.len() / 2).copied().unwrap_or_default());
    first | (middle << 8) | (last << 16)
}

/// All paths of a matcher.
#[derive(Debug)]
pub(super) struct Paths {
    steps: Vec<Step>,
    count: usize,
}

impl Paths {
    pub(super) fn new() -> Self {
        Self { steps: vec![Step::default()], count: 0 }
    }

    /// How many paths there are; their numbers are below it.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The number of a path, which is new if it was not there.
    pub(super) fn intern(&mut self, path: &str) -> PathId {
        let (mut above, mut at) = (None, ROOT);
        for name in path.split('.') {
            let below = self.child(at, name.as_bytes()).unwrap_or_else(|| self.add(at, name.as_bytes()));
            if let Some(above) = above.replace(at) {
                self.steps[above].is_deep = true;
            }
            at = below;
        }
        let count = &mut self.count;
        *self.steps[at].path.get_or_insert_with(|| {
            *count += 1;
            *count - 1
        })
    }

    /// The number of a path, if it has one.
    pub(super) fn find(&self, path: &str) -> Option<PathId> {
        self.follow(ROOT, path.as_bytes()).and_then(|step| self.path(step))
    }

    fn add(&mut self, parent: StepId, name: &[u8]) -> StepId {
        let id = self.steps.len();
        self.steps.push(Step::default());
        let step = &mut self.steps[parent];
        if step.listed.len() < LISTED_MAX && step.hashed.is_empty() {
            step.listed.push(Listed { word: word(name), name: name.into(), step: id });
            return id;
        }
        step.hashed.extend(step.listed.drain(..).map(|listed| (listed.name, listed.step)));
        step.hashed.insert(name.into(), id);
        id
    }

    /// The number of the path that ends here, if one does.
    pub(super) fn path(&self, step: StepId) -> Option<PathId> {
        self.steps[step].path
    }

    /// Whether no path leads on from here.
    pub(super) fn is_end(&self, step: StepId) -> bool {
        self.steps[step].listed.is_empty() && self.steps[step].hashed.is_empty()
    }

    /// Where a name without dots leads.
    #[inline]
    pub(super) fn child(&self, step: StepId, name: &[u8]) -> Option<StepId> {
        let step = &self.steps[step];
        if step.hashed.is_empty() {
            let word = word(name);
            let is_it = |listed: &&Listed| {
                listed.word == word
                    && listed.name.len() == name.len()
                    && (name.len() <= size_of::<u64>() || *listed.name == *name)
            };
            return step.listed.iter().find(is_it).map(|listed| listed.step);
        }
        step.hashed.get(name).copied()
    }

    /// Where any key leads.
    #[inline]
    pub(super) fn follow(&self, step: StepId, key: &[u8]) -> Option<StepId> {
        if let Some(found) = self.child(step, key) {
            return Some(found);
        }
        if !self.steps[step].is_deep || !key.contains(&b'.') {
            return None;
        }
        key.split(|&byte| byte == b'.').try_fold(step, |at, name| self.child(at, name))
    }
}

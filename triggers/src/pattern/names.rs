//! The paths that patterns name, and which of them are attributes of an event.

use super::parse::Pattern;
use super::paths::{PathId, Paths, ROOT, StepId};

/// The name under which an event's data stands among its attributes.
pub(super) const DATA: &str = "data";

/// The names of EventBridge for an event's data, its type, and the list in its extension of that name.
pub(super) const DETAIL: &str = "detail";
const DETAIL_TYPE: &str = "detail-type";
pub(super) const RESOURCES: &str = "resources";

/// The attribute that every event has, be it derived.
pub(super) const CORRELATION_ID: &str = "correlationid";

/// All paths of some patterns.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) paths: Paths,
    /// Paths from here on lead into an event's data.
    pub(super) first_data_path: PathId,
    /// Where the walk over an event's data begins, by its name here and by EventBridge's.
    pub(super) data: Option<StepId>,
    pub(super) detail: Option<StepId>,
    pub(super) attributes: Attributes,
}

/// The paths of the attributes that an event does not keep in its list, where patterns name them.
#[derive(Debug)]
pub(super) struct Attributes {
    pub(super) id: Option<PathId>,
    pub(super) source: Option<PathId>,
    pub(super) event_type: Option<PathId>,
    pub(super) correlation_id: Option<PathId>,
    pub(super) spec_version: Option<PathId>,
    /// EventBridge's name for the type.
    pub(super) detail_type: Option<PathId>,
    /// Whether patterns name any other attribute.
    pub(super) has_others: bool,
}

impl Names {
    pub(super) fn new<'p>(patterns: impl Iterator<Item = &'p Pattern> + Clone) -> Self {
        let fields = || patterns.clone().flat_map(|pattern| &pattern.fields);
        let mut paths = Paths::new();
        for field in fields().filter(|field| !is_in_data(&field.path)) {
            paths.intern(&field.path);
        }
        let first_data_path = paths.count();
        for field in fields() {
            paths.intern(&field.path);
        }
        let attributes = Attributes::new(&paths, first_data_path);
        let [data, detail] = [DATA, DETAIL].map(|name| paths.child(ROOT, name.as_bytes()));
        Self { paths, first_data_path, data, detail, attributes }
    }

    /// Whether some pattern names a part of an event as only EventBridge does.
    pub(super) fn has_aliases(&self) -> bool {
        self.detail.is_some()
            || self.attributes.detail_type.is_some()
            || self.paths.child(ROOT, RESOURCES.as_bytes()).is_some()
    }
}

fn is_in_data(path: &str) -> bool {
    path.split('.').next().is_some_and(|first| first == DATA || first == DETAIL)
}

impl Attributes {
    fn new(paths: &Paths, outside_data: usize) -> Self {
        let path = |name: &str| paths.child(ROOT, name.as_bytes()).and_then(|step| paths.path(step));
        let [id, source, event_type] = ["id", "source", "type"].map(path);
        let [correlation_id, spec_version] = [CORRELATION_ID, "specversion"].map(path);
        let detail_type = path(DETAIL_TYPE);
        let fixed = [id, source, event_type, correlation_id, spec_version, detail_type];
        // An extension may be called as EventBridge calls the data.
        let is_detail_named = path(DETAIL).is_some();
        let has_others = is_detail_named || outside_data > fixed.into_iter().flatten().count();
        Self { id, source, event_type, correlation_id, spec_version, detail_type, has_others }
    }
}

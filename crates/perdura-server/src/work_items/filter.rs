//! Which work a worker takes.

use super::{Kind, Route};
use perdura_proto::{ActivityFilter, OrchestrationFilter, WorkItemFilters};
use rustc_hash::FxHashMap;

/// What a worker said it takes. Without filters it takes everything; with them each kind is a list of names that is
/// complete: an empty one means nothing of that kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters(Option<[FxHashMap<String, Versions>; 3]>);

/// Versions of one name that are taken.
#[derive(Clone, Debug)]
enum Versions {
    Any,
    /// The empty version stands for "unversioned".
    These(Vec<String>),
}

impl Filters {
    pub(crate) fn from_wire(filters: Option<WorkItemFilters>) -> Filters {
        let Some(filters) = filters else { return Filters(None) };
        let mut lists = <[FxHashMap<String, Versions>; 3]>::default();
        for OrchestrationFilter { name, versions } in filters.orchestrations {
            add(&mut lists[Kind::Orchestration as usize], name, versions);
        }
        for ActivityFilter { name, versions } in filters.activities {
            add(&mut lists[Kind::Activity as usize], name, versions);
        }
        for filter in filters.entities {
            // Entity names are lower case everywhere; some SDKs send filters as the user wrote them.
            add(&mut lists[Kind::Entity as usize], filter.name.to_lowercase(), Vec::new());
        }
        Filters(Some(lists))
    }

    pub(crate) fn take(&self, route: &Route) -> bool {
        let Some(lists) = &self.0 else { return true };
        match lists[route.kind as usize].get(&route.name) {
            None => false,
            Some(Versions::Any) => true,
            Some(Versions::These(versions)) => versions.contains(&route.version),
        }
    }
}

/// The same name may be listed twice: then the versions add up.
fn add(list: &mut FxHashMap<String, Versions>, name: String, versions: Vec<String>) {
    if versions.is_empty() {
        list.insert(name, Versions::Any);
        return;
    }
    match list.entry(name).or_insert_with(|| Versions::These(Vec::new())) {
        Versions::Any => {}
        Versions::These(known) => known.extend(versions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perdura_proto::EntityFilter;

    fn takes(filters: &Filters, kind: Kind, name: &str, version: &str) -> bool {
        filters.take(&Route::new(kind, name, version))
    }

    #[test]
    fn without_filters_everything_is_taken_and_with_empty_ones_nothing() {
        let none = Filters::from_wire(None);
        let empty = Filters::from_wire(Some(WorkItemFilters::default()));
        for kind in [Kind::Orchestration, Kind::Activity, Kind::Entity] {
            assert!(takes(&none, kind, "a", "1"));
            assert!(!takes(&empty, kind, "a", ""));
        }
    }

    #[test]
    fn names_are_exact_and_the_empty_version_means_unversioned() {
        let filters = Filters::from_wire(Some(WorkItemFilters {
            orchestrations: vec![
                OrchestrationFilter { name: "order".into(), versions: vec!["1.0".into()] },
                OrchestrationFilter { name: "order".into(), versions: vec!["".into()] },
            ],
            activities: vec![ActivityFilter { name: "pay".into(), versions: vec![] }],
            entities: vec![EntityFilter { name: "Counter".into() }],
        }));
        assert!(takes(&filters, Kind::Orchestration, "order", "1.0"));
        assert!(takes(&filters, Kind::Orchestration, "order", ""));
        assert!(!takes(&filters, Kind::Orchestration, "order", "2.0"));
        assert!(!takes(&filters, Kind::Orchestration, "Order", "1.0"));
        assert!(takes(&filters, Kind::Activity, "pay", "7"));
        assert!(!takes(&filters, Kind::Activity, "order", "1.0"));
        assert!(takes(&filters, Kind::Entity, "counter", ""));
    }
}

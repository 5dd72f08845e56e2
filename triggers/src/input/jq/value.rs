//! jq's values with every operation counted: jaq's own, wrapped.
//!
//! An operation whose cost grows with its operands takes its steps before it does anything. Values share their parts, so a
//! small one may be huge when it is written out or compared: what goes through a whole value counts its nodes first, and
//! never goes deeper than [`VALUE_DEPTH_MAX`].

use std::cmp::Ordering;
use std::fmt;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::ops::Math;
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Error, Exn, ValR, ValX};
use jaq_json::{Map, Num, Rc, Val};

use super::meter::{self, Stop};

/// How deep a value may be that is written, compared or searched.
pub(super) const VALUE_DEPTH_MAX: usize = 256;
/// Bits of a whole number.
const INTEGER_BITS_MAX: u64 = 4096;
/// Nodes of a value that are visited in one step: that is far less work than to evaluate a term.
const STEP_NODES: u64 = 8;

const ITERABLE: &str = "iterable (array or object)";

/// A value.
#[derive(Clone, Debug, Default)]
pub(super) struct Value(pub(super) Val);

/// An error for what was ruled out before.
fn odd<T>(_: T) -> Error<Value> {
    Error::str("this cannot be done with such a value")
}

fn unwrap_or_clone<T: Clone>(shared: Rc<T>) -> T {
    Rc::try_unwrap(shared).unwrap_or_else(|shared| (*shared).clone())
}

/// Steps for taking a list's or an object's elements out of it: they are copied where it is shared.
fn take_elements<T>(shared: &Rc<T>, count: usize) {
    meter::take(if Rc::strong_count(shared) == 1 { 1 } else { count as u64 / 4 + 1 });
}

impl Value {
    pub(super) fn text(text: impl Into<bytes::Bytes>) -> Self {
        Self(Val::utf8_str(text))
    }

    /// Takes steps for going through the whole value, and says how many nodes it has.
    pub(super) fn weigh(&self) -> u64 {
        let mut nodes = 0;
        weigh(&self.0, 0, &mut nodes);
        meter::take(1);
        nodes
    }

    /// Takes steps for comparing it with another.
    pub(super) fn weigh_against(&self, other: &Self) {
        match (&self.0, &other.0) {
            (Val::Arr(_), Val::Arr(_)) | (Val::Obj(_), Val::Obj(_)) => {
                let nodes = self.weigh() + other.weigh();
                // Objects are sorted for it.
                meter::take(nodes / STEP_NODES);
            }
            (Val::TStr(l) | Val::BStr(l), Val::TStr(r) | Val::BStr(r)) => {
                meter::take_bytes(l.len().min(r.len()));
            }
            _ => meter::take(1),
        }
    }

    fn is_container(&self) -> bool {
        matches!(self.0, Val::Arr(_) | Val::Obj(_))
    }

    fn as_index(&self) -> Option<isize> {
        jaq_std::ValT::as_isize(&self.0)
    }

    fn is_null(&self) -> bool {
        matches!(self.0, Val::Null)
    }
}

fn weigh(value: &Val, depth: usize, nodes: &mut u64) {
    *nodes += 1;
    if nodes.is_multiple_of(STEP_NODES) {
        meter::take(1);
    }
    if depth > VALUE_DEPTH_MAX {
        meter::stop(Stop::Depth);
    }
    match value {
        Val::Arr(items) => items.iter().for_each(|item| weigh(item, depth + 1, nodes)),
        Val::Obj(members) => members.iter().for_each(|(key, value)| {
            weigh(key, depth + 1, nodes);
            weigh(value, depth + 1, nodes);
        }),
        Val::TStr(text) | Val::BStr(text) => meter::take_bytes(text.len()),
        Val::Num(Num::BigInt(integer)) => meter::take(integer.bits() / 64 + 1),
        Val::Num(Num::Dec(digits)) => meter::take_bytes(digits.len()),
        Val::Null | Val::Bool(_) | Val::Num(_) => {}
    }
}

impl jaq_core::ValT for Value {
    fn from_num(number: &str) -> ValR<Self> {
        meter::take_bytes(number.len());
        Val::from_num(number).map(Self).map_err(odd)
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(members: I) -> ValR<Self> {
        let mut map = Map::default();
        for (key, value) in members {
            key.weigh();
            map.insert(key.0, value.0);
        }
        Ok(Self(Val::obj(map)))
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        match self.0 {
            Val::Arr(items) => {
                take_elements(&items, items.len());
                let items = unwrap_or_clone(items).into_iter().enumerate();
                Box::new(items.map(|(at, item)| Ok((Self(Val::from(at)), Self(item)))))
            }
            Val::Obj(members) => {
                take_elements(&members, members.len());
                let members = unwrap_or_clone(members).into_iter();
                Box::new(members.map(|(key, value)| Ok((Self(key), Self(value)))))
            }
            other => box_once(Err(Error::typ(Self(other), ITERABLE))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        Box::new(self.key_values().map(|member| member.map(|(_, value)| value)))
    }

    fn index(self, index: &Self) -> ValR<Self> {
        meter::take(1);
        match (&self.0, &index.0) {
            (Val::Arr(_), Val::Arr(_)) => {
                let (all, wanted) = (self.weigh(), index.weigh());
                meter::take(all.saturating_mul(wanted) / STEP_NODES);
            }
            (Val::Obj(_), _) if index.is_container() => {
                index.weigh();
            }
            (Val::Obj(_), Val::TStr(key)) => meter::take_bytes(key.len()),
            (Val::Arr(items), Val::Obj(_)) => meter::take(items.len() as u64),
            (Val::TStr(text) | Val::BStr(text), Val::Obj(_)) => meter::take_bytes(text.len() * 16),
            _ => {}
        }
        let whole = self.clone();
        let found = jaq_core::ValT::index(self.0, &index.0);
        found.map(Self).map_err(|_| Error::index(whole, index.clone()))
    }

    fn range(self, range: Range<&Self>) -> ValR<Self> {
        match &self.0 {
            Val::Arr(items) => meter::take(items.len() as u64 / 4 + 1),
            // Characters are counted one by one.
            Val::TStr(text) | Val::BStr(text) => meter::take_bytes(text.len() * 16),
            _ => return Err(Error::typ(self, "rangeable (array or string)")),
        }
        let range = range.start.map(|start| &start.0)..range.end.map(|end| &end.0);
        jaq_core::ValT::range(self.0, range)
            .map(Self)
            .map_err(|_| Error::str("a slice's ends must be integers"))
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match self.0 {
            Val::Arr(items) => {
                take_elements(&items, items.len());
                let items = unwrap_or_clone(items).into_iter().map(Self);
                items.flat_map(f).collect::<Result<_, _>>()
            }
            Val::Obj(members) => {
                take_elements(&members, members.len());
                let mut map = Map::default();
                for (key, value) in unwrap_or_clone(members) {
                    meter::take(1);
                    if let Some(value) = f(Self(value)).next() {
                        map.insert(key, value?.0);
                    }
                }
                Ok(Self(Val::obj(map)))
            }
            other => opt.fail(Self(other), |other| Exn::from(Error::typ(other, ITERABLE))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        mut self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        if let (Val::Arr(_) | Val::TStr(_) | Val::BStr(_), Val::Obj(range)) = (&self.0, &index.0) {
            let end = |name: &'static str| range.get(&Val::utf8_str(name)).cloned().map(Self);
            let (start, end) = (end("start"), end("end"));
            return self.map_range(start.as_ref()..end.as_ref(), opt, f);
        }
        match &mut self.0 {
            Val::Obj(members) => {
                index.weigh();
                take_elements(members, members.len());
                let members = Rc::make_mut(members);
                let old = members.get_mut(&index.0).map(std::mem::take);
                match f(Self(old.unwrap_or_default())).next().transpose()? {
                    Some(new) => drop(members.insert(index.0.clone(), new.0)),
                    None => drop(members.swap_remove(&index.0)),
                }
                Ok(self)
            }
            Val::Arr(items) => {
                take_elements(items, items.len());
                let at = index.as_index().and_then(|at| absolute(at, items.len()));
                let Some(at) = at.filter(|at| *at < items.len()) else {
                    let message = format!("index {index} out of bounds");
                    return opt.fail(self, |_| Exn::from(Error::str(message)));
                };
                let items = Rc::make_mut(items);
                let old = std::mem::take(&mut items[at]);
                match f(Self(old)).next().transpose()? {
                    Some(new) => items[at] = new.0,
                    None => {
                        meter::take(items.len() as u64 / 16);
                        items.remove(at);
                    }
                }
                Ok(self)
            }
            _ => opt.fail(self, |other| Exn::from(Error::typ(other, ITERABLE))),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let Val::Arr(items) = self.0 else {
            return opt.fail(self, |other| Exn::from(Error::typ(other, "array")));
        };
        meter::take(items.len() as u64 / 4 + 1);
        let end = |end: Option<&Self>, default: usize| match end.filter(|end| !end.is_null()) {
            None => Some(default),
            Some(end) => Some(absolute(end.as_index()?, items.len()).unwrap_or(0).min(items.len())),
        };
        let (Some(start), Some(end)) = (end(range.start, 0), end(range.end, items.len())) else {
            let whole = Self(Val::Arr(items));
            return opt.fail(whole, |_| Exn::from(Error::str("a slice's ends must be integers")));
        };
        let end = end.max(start);
        let part: Val = items[start..end].iter().cloned().collect();
        let new = match f(Self(part)).next().transpose()? {
            None => Vec::new(),
            Some(Self(Val::Arr(new))) => unwrap_or_clone(new),
            Some(other) => return Err(Exn::from(Error::typ(other, "array"))),
        };
        meter::take(new.len() as u64);
        let mut all = unwrap_or_clone(items);
        all.splice(start..end, new);
        Ok(Self(all.into_iter().collect()))
    }

    fn as_bool(&self) -> bool {
        jaq_core::ValT::as_bool(&self.0)
    }

    fn into_string(self) -> Self {
        self.weigh();
        Self(jaq_core::ValT::into_string(self.0))
    }
}

/// An index that may count from the end, as one from the beginning.
fn absolute(index: isize, length: usize) -> Option<usize> {
    usize::try_from(index).ok().or_else(|| length.checked_sub(index.unsigned_abs()))
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self.0 {
            Val::Arr(items) => {
                meter::take(items.len() as u64 / 4 + 1);
                Ok(unwrap_or_clone(items).into_iter().map(Self).collect())
            }
            other => Err(Self(other)),
        }
    }

    fn is_int(&self) -> bool {
        jaq_std::ValT::is_int(&self.0)
    }

    fn as_isize(&self) -> Option<isize> {
        jaq_std::ValT::as_isize(&self.0)
    }

    fn as_f64(&self) -> Option<f64> {
        jaq_std::ValT::as_f64(&self.0)
    }

    fn is_utf8_str(&self) -> bool {
        jaq_std::ValT::is_utf8_str(&self.0)
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        let bytes = jaq_std::ValT::as_bytes(&self.0)?;
        meter::take_bytes(bytes.len());
        Some(bytes)
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self(jaq_std::ValT::as_sub_str(&self.0, part))
    }

    fn from_utf8_bytes(text: impl AsRef<[u8]> + Send + 'static) -> Self {
        meter::take_bytes(text.as_ref().len());
        Self(<Val as jaq_std::ValT>::from_utf8_bytes(text))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self(value.into())
    }
}

impl From<isize> for Value {
    fn from(value: isize) -> Self {
        Self(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self(value.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        meter::take_bytes(text.len());
        Self(text.into())
    }
}

impl From<Range<Self>> for Value {
    fn from(range: Range<Self>) -> Self {
        meter::take(1);
        Self((range.start.map(|start| start.0)..range.end.map(|end| end.0)).into())
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<T: IntoIterator<Item = Self>>(items: T) -> Self {
        let counted = items.into_iter().map(|item| {
            meter::take(1);
            item.0
        });
        Self(counted.collect())
    }
}

/// Numbers may grow without end; these do not.
fn bits(number: &Num) -> u64 {
    match number {
        Num::BigInt(integer) => integer.bits(),
        Num::Int(_) => 64,
        Num::Float(_) | Num::Dec(_) => 0,
    }
}

impl std::ops::Add for Value {
    type Output = ValR<Self>;

    fn add(self, other: Self) -> ValR<Self> {
        match (&self.0, &other.0) {
            (Val::Null, _) | (_, Val::Null) => meter::take(1),
            (Val::Num(l), Val::Num(r)) => meter::take((bits(l) + bits(r)) / 64 + 1),
            (Val::TStr(l), Val::TStr(r)) | (Val::BStr(l), Val::BStr(r)) => {
                meter::take_bytes(if l.is_unique() { r.len() } else { l.len() + r.len() });
            }
            (Val::Arr(l), Val::Arr(r)) => {
                take_elements(l, l.len());
                meter::take(r.len() as u64 / 4 + 1);
            }
            (Val::Obj(l), Val::Obj(r)) => {
                take_elements(l, l.len());
                for key in r.keys() {
                    Self(key.clone()).weigh();
                }
            }
            _ => return Err(Error::math(self, Math::Add, other)),
        }
        (self.0 + other.0).map(Self).map_err(odd)
    }
}

impl std::ops::Sub for Value {
    type Output = ValR<Self>;

    fn sub(self, other: Self) -> ValR<Self> {
        match (&self.0, &other.0) {
            (Val::Num(l), Val::Num(r)) => meter::take((bits(l) + bits(r)) / 64 + 1),
            (Val::Arr(_), Val::Arr(removed)) => {
                let comparisons = u64::from(removed.len().max(1).ilog2()) + 2;
                let nodes = self.weigh() + other.weigh();
                meter::take(nodes.saturating_mul(comparisons) / STEP_NODES);
            }
            _ => return Err(Error::math(self, Math::Sub, other)),
        }
        (self.0 - other.0).map(Self).map_err(odd)
    }
}

impl std::ops::Mul for Value {
    type Output = ValR<Self>;

    fn mul(self, other: Self) -> ValR<Self> {
        match (&self.0, &other.0) {
            (Val::Num(l), Val::Num(r)) => {
                let bits = bits(l) + bits(r);
                if bits > INTEGER_BITS_MAX {
                    return Err(Error::str("the product has too many digits"));
                }
                meter::take(bits / 64 + 1);
            }
            (Val::TStr(text) | Val::BStr(text), Val::Num(number))
            | (Val::Num(number), Val::TStr(text) | Val::BStr(text)) => match number {
                Num::Int(times) => {
                    let times = usize::try_from(*times).unwrap_or(0);
                    meter::take_bytes(text.len().saturating_mul(times));
                }
                Num::BigInt(_) => meter::take(u64::MAX),
                Num::Float(_) | Num::Dec(_) => return Err(Error::math(self, Math::Mul, other)),
            },
            (Val::Obj(_), Val::Obj(_)) => {
                self.weigh();
                other.weigh();
            }
            _ => return Err(Error::math(self, Math::Mul, other)),
        }
        (self.0 * other.0).map(Self).map_err(odd)
    }
}

impl std::ops::Div for Value {
    type Output = ValR<Self>;

    fn div(self, other: Self) -> ValR<Self> {
        match (&self.0, &other.0) {
            (Val::Num(l), Val::Num(r)) => meter::take((bits(l) + bits(r)) / 64 + 1),
            // A string is split, at worst into its characters.
            (Val::TStr(text), Val::TStr(_)) | (Val::BStr(text), Val::BStr(_)) => {
                meter::take(text.len() as u64 / 2 + 1);
            }
            _ => return Err(Error::math(self, Math::Div, other)),
        }
        (self.0 / other.0).map(Self).map_err(odd)
    }
}

impl std::ops::Rem for Value {
    type Output = ValR<Self>;

    fn rem(self, other: Self) -> ValR<Self> {
        meter::take(1);
        if let (Val::Num(l), Val::Num(r)) = (&self.0, &other.0) {
            meter::take((bits(l) + bits(r)) / 64);
            return (self.0 % other.0)
                .map(Self)
                .map_err(|_| Error::str("there is no remainder of a division by zero"));
        }
        Err(Error::math(self, Math::Rem, other))
    }
}

impl std::ops::Neg for Value {
    type Output = ValR<Self>;

    fn neg(self) -> ValR<Self> {
        match &self.0 {
            Val::Num(number) => meter::take(bits(number) / 64 + 1),
            _ => return Err(Error::typ(self, "number")),
        }
        (-self.0).map(Self).map_err(odd)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.weigh_against(other);
        self.0 == other.0
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.weigh_against(other);
        self.0.cmp(&other.0)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.weigh();
        self.0.fmt(f)
    }
}

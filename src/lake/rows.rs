//! Rows of one table in memory, column by column.

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;

use super::table::{Kind, Table};

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// For a [`Kind::Text`].
    Text(Option<String>),
    /// For a [`Kind::Int`] or a [`Kind::Time`].
    Int(Option<i64>),
    /// For a [`Kind::Real`].
    Real(Option<f64>),
    /// For a [`Kind::Flag`].
    Flag(Option<bool>),
}

impl Value {
    /// A text, as it is.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Some(text.into()))
    }

    /// A text; an empty one counts as missing.
    pub fn non_empty(text: &str) -> Self {
        Self::Text(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    /// The name that a word of ours has in JSON.
    pub fn word(word: &impl serde::Serialize) -> Self {
        let json = serde_json::to_value(word).ok();
        Self::Text(json.and_then(|json| json.as_str().map(str::to_owned)))
    }

    /// A count; what no signed integer holds becomes the largest one.
    pub fn count(count: impl Into<Option<u64>>) -> Self {
        Self::Int(count.into().map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
    }

    /// A number.
    pub fn real(number: impl Into<Option<f64>>) -> Self {
        Self::Real(number.into())
    }

    /// A score, without the digits that widening a float makes up.
    pub fn score(score: Option<f32>) -> Self {
        Self::Real(score.map(|score| (f64::from(score) * 1e6).round() / 1e6))
    }

    /// Yes or no.
    pub fn flag(flag: impl Into<Option<bool>>) -> Self {
        Self::Flag(flag.into())
    }

    /// A wall time.
    pub fn time(at: impl Into<Option<Timestamp>>) -> Self {
        Self::Int(at.into().map(Timestamp::as_microsecond))
    }
}

/// The values of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Of a [`Kind::Text`].
    Text(Vec<Option<String>>),
    /// Of a [`Kind::Int`] or a [`Kind::Time`].
    Int(Vec<Option<i64>>),
    /// Of a [`Kind::Real`].
    Real(Vec<Option<f64>>),
    /// Of a [`Kind::Flag`].
    Flag(Vec<Option<bool>>),
}

impl Values {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(Vec::new()),
            Kind::Int | Kind::Time => Self::Int(Vec::new()),
            Kind::Real => Self::Real(Vec::new()),
            Kind::Flag => Self::Flag(Vec::new()),
        }
    }

    fn push(&mut self, value: Value) -> bool {
        match (self, value) {
            (Self::Text(values), Value::Text(value)) => values.push(value),
            (Self::Int(values), Value::Int(value)) => values.push(value),
            (Self::Real(values), Value::Real(value)) => values.push(value),
            (Self::Flag(values), Value::Flag(value)) => values.push(value),
            _ => return false,
        }
        true
    }

    /// Values of the same kind at the end. Returns whether they are of the same kind.
    fn append(&mut self, other: Self) -> bool {
        match (self, other) {
            (Self::Text(values), Self::Text(other)) => values.extend(other),
            (Self::Int(values), Self::Int(other)) => values.extend(other),
            (Self::Real(values), Self::Real(other)) => values.extend(other),
            (Self::Flag(values), Self::Flag(other)) => values.extend(other),
            _ => return false,
        }
        true
    }
}

/// Rows of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    table: Table,
    columns: Vec<Values>,
    len: usize,
}

impl Rows {
    /// None yet.
    pub fn new(table: Table) -> Self {
        Self { table, columns: table.columns().iter().map(|(_, kind)| Values::new(*kind)).collect(), len: 0 }
    }

    /// Rows whose columns were read, in the table's order.
    ///
    /// # Errors
    /// When they are not the table's, or not all of one length.
    pub(super) fn of(table: Table, columns: Vec<Values>, len: usize) -> Result<Self> {
        let mut rows = Self::new(table);
        ensure!(columns.len() == rows.columns.len(), "{} columns of {}", columns.len(), rows.columns.len());
        for ((values, read), (name, _)) in rows.columns.iter_mut().zip(columns).zip(table.columns()) {
            ensure!(values.append(read), "column {name} is of another kind");
            ensure!(values.len() == len, "column {name} has {} rows of {len}", values.len());
        }
        rows.len = len;
        Ok(rows)
    }

    /// Adds a row, whose values are named and in the order of the columns.
    ///
    /// # Errors
    /// When they are not: a mistake of the program, which must not end up in a file.
    pub fn push<const N: usize>(&mut self, row: [(&str, Value); N]) -> Result<()> {
        let columns = self.table.columns();
        let named = row.iter().map(|(name, _)| *name).eq(columns.iter().map(|(name, _)| *name));
        ensure!(named, "the values of a row are not those of table {}", self.table);
        for ((name, value), values) in row.into_iter().zip(&mut self.columns) {
            if !values.push(value) {
                bail!("the value of {}.{name} is of another kind", self.table);
            }
        }
        self.len += 1;
        Ok(())
    }

    /// Adds the rows of `other`, of the same table, behind.
    pub fn append(&mut self, other: Self) -> Result<()> {
        ensure!(self.table == other.table, "rows of {} and of {} are not one table", self.table, other.table);
        self.len += other.len;
        for (values, more) in self.columns.iter_mut().zip(other.columns) {
            ensure!(values.append(more), "a column is of another kind");
        }
        Ok(())
    }

    /// Their table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Their columns, in the order of the table's.
    pub fn columns(&self) -> &[Values] {
        &self.columns
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Int(values) => values.len(),
            Self::Real(values) => values.len(),
            Self::Flag(values) => values.len(),
        }
    }
}

//! Values, rows, and statements that write rows.

use std::borrow::Cow;
use std::sync::Arc;

use crate::Error;

/// A value of a column or parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `BIGINT`
    Int(i64),
    /// `DOUBLE PRECISION`
    Real(f64),
    /// `TEXT`
    Text(String),
    /// `BLOB`
    Blob(Vec<u8>),
}

macro_rules! from {
    ($($from:ty => |$value:ident| $to:expr),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from($value: $from) -> Value {
                $to
            }
        })*
    };
}

from! {
    i64 => |value| Value::Int(value),
    u32 => |value| Value::Int(i64::from(value)),
    bool => |value| Value::Int(i64::from(value)),
    f64 => |value| Value::Real(value),
    &str => |value| Value::Text(value.to_owned()),
    String => |value| Value::Text(value),
    Arc<str> => |value| Value::Text(value.as_ref().to_owned()),
    Vec<u8> => |value| Value::Blob(value),
    &[u8] => |value| Value::Blob(value.to_owned()),
    uuid::Uuid => |value| Value::Blob(value.as_bytes().to_vec()),
}

/// A number that counts or a time in milliseconds; those above `i64::MAX` ("never") become that.
impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// A statement that writes rows, executed in the transaction of a batch.
///
/// Write upserts by primary key that cannot fail on data: a statement that fails takes its command with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The statement.
    pub sql: Cow<'static, str>,
    /// `$1`, `$2` ...
    pub params: Vec<Value>,
}

impl Write {
    /// A statement with its parameters.
    pub fn new(sql: impl Into<Cow<'static, str>>, params: Vec<Value>) -> Write {
        Write { sql: sql.into(), params }
    }
}

/// A row that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its values, in the order of the query's columns.
    pub values: Vec<Value>,
}

impl Row {
    /// The whole number of a column.
    pub fn int(&self, column: usize) -> Result<i64, Error> {
        match self.values.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            other => Err(mismatch(column, "a whole number", other)),
        }
    }

    /// The whole number of a column that may be null.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, Error> {
        if self.is_null(column) { Ok(None) } else { self.int(column).map(Some) }
    }

    /// The text of a column.
    pub fn text(&self, column: usize) -> Result<&str, Error> {
        match self.values.get(column) {
            Some(Value::Text(value)) => Ok(value),
            other => Err(mismatch(column, "a text", other)),
        }
    }

    /// The text of a column that may be null.
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, Error> {
        if self.is_null(column) { Ok(None) } else { self.text(column).map(Some) }
    }

    /// The bytes of a column.
    pub fn blob(&self, column: usize) -> Result<&[u8], Error> {
        match self.values.get(column) {
            Some(Value::Blob(value)) => Ok(value),
            other => Err(mismatch(column, "bytes", other)),
        }
    }

    /// The number of a column.
    pub fn real(&self, column: usize) -> Result<f64, Error> {
        match self.values.get(column) {
            Some(Value::Real(value)) => Ok(*value),
            #[allow(clippy::cast_precision_loss, reason = "a whole number where a fraction was possible")]
            Some(Value::Int(value)) => Ok(*value as f64),
            other => Err(mismatch(column, "a number", other)),
        }
    }

    /// Whether a column is null.
    #[must_use]
    pub fn is_null(&self, column: usize) -> bool {
        matches!(self.values.get(column), Some(Value::Null))
    }
}

fn mismatch(column: usize, expected: &str, found: Option<&Value>) -> Error {
    Error::Query(format!("column {column} should be {expected}, is {found:?}"))
}

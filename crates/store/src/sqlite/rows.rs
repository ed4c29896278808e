//! Rows that other crates keep: written in a batch's transaction, read from any thread.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

use super::{connect, error, log};
use crate::{Error, Reader, Row, Value, Write};

/// Rows that a query may give: pages are smaller; more than this is a forgotten LIMIT.
const MAX_ROWS: usize = 100_000;

/// Executes the writes in order; the error says which was refused.
pub(super) fn execute_all(connection: &Connection, writes: &[Write]) -> Result<(), Error> {
    for (index, write) in writes.iter().enumerate() {
        let blame = |reason| Error::Row { write: index, reason };
        let mut statement =
            connection.prepare_cached(&write.sql).map_err(|error| error::in_statement(error, blame))?;
        bind(&mut statement, &write.params).map_err(blame)?;
        // Whatever a RETURNING gives is of no interest here, but must be stepped through.
        let mut rows = statement.raw_query();
        while rows.next().map_err(|error| error::in_statement(error, blame))?.is_some() {}
    }
    Ok(())
}

/// SQLite numbers `$2` by its first appearance, so parameters are bound by their names.
fn bind(statement: &mut Statement<'_>, params: &[Value]) -> Result<(), String> {
    if statement.parameter_count() != params.len() {
        return Err(format!(
            "the statement has {} parameters, {} were given",
            statement.parameter_count(),
            params.len()
        ));
    }
    for (index, value) in params.iter().enumerate() {
        let name = format!("${}", index + 1);
        let place = statement
            .parameter_index(&name)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("the statement has no parameter {name}"))?;
        statement.raw_bind_parameter(place, value).map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Real(value) => ValueRef::Real(*value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(value) => Value::Text(String::from_utf8_lossy(value).into_owned()),
        ValueRef::Blob(value) => Value::Blob(value.to_owned()),
    }
}

/// A connection that only reads.
pub(super) struct SqliteReader {
    connection: Connection,
    path: PathBuf,
}

impl SqliteReader {
    pub(super) fn open(path: &Path) -> Result<SqliteReader, Error> {
        let connection = connect(path)?;
        connection.pragma_update(None, "query_only", true).map_err(error::opening)?;
        Ok(SqliteReader { connection, path: path.to_owned() })
    }
}

impl Reader for SqliteReader {
    fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
        let failed = |error| error::in_statement(error, Error::Query);
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        bind(&mut statement, params).map_err(Error::Query)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            if found.len() == MAX_ROWS {
                return Err(Error::Query(format!("more than {MAX_ROWS} rows: give it a LIMIT")));
            }
            let mut values = Vec::with_capacity(columns);
            for column in 0..columns {
                values.push(value(row.get_ref(column).map_err(failed)?));
            }
            found.push(Row { values });
        }
        Ok(found)
    }

    fn backup(&self, to: &Path) -> Result<(), Error> {
        let io = |error: std::io::Error| Error::file(to, &error);
        if to.try_exists().map_err(io)? {
            return Err(Error::File {
                path: to.to_owned(),
                reason: "exists already; name a new file".into(),
            });
        }
        // Under another name until it is whole, so that nobody takes half a copy for one.
        let mut partial = OsString::from(to);
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let source = connect(&self.path)?;
        let Some(name) = partial.to_str() else {
            return Err(Error::File { path: partial, reason: "not a name in UTF-8".into() });
        };
        source.execute("VACUUM INTO ?1", [name]).map_err(error::outside_commit)?;
        let copy = connect(&partial)?;
        log::mark_copy(&copy)?;
        drop(copy);
        std::fs::File::open(&partial).and_then(|file| file.sync_all()).map_err(io)?;
        std::fs::rename(&partial, to).map_err(io)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
    }
}

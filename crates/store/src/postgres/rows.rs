//! Rows that other crates keep: written in a batch's transaction, read from any thread.

use std::cell::RefCell;
use std::path::Path as FilePath;

use bytes::BytesMut;
use tokio::runtime::Runtime;
use tokio_postgres::Row as SqlRow;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::error::Failure;
use super::nodes;
use super::session::{Param, Path, Prepared, Session, Setup};
use super::{PostgresConfig, new_runtime};
use crate::{Error, Node, Reader, Row, Value, Write};

/// Rows that a query may give: pages are smaller; more than this is a forgotten LIMIT.
const MAX_ROWS: usize = 100_000;

/// A write whose statement is prepared.
pub(super) struct Bound<'a> {
    prepared: Prepared,
    params: Vec<Param<'a>>,
}

impl Bound<'_> {
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.run(&self.prepared, &self.params, usize::MAX).await.map(|_| ())
    }
}

/// Prepares a write.
pub(super) async fn bind<'a>(session: &Session, write: &'a Write) -> Result<Bound<'a>, Failure> {
    let params = params(&write.sql, &write.params)
        .map_err(|reason| Failure::Store(Error::Row { write: 0, reason }))?;
    let types: Vec<Type> = params.iter().map(|(_, kind)| kind.clone()).collect();
    Ok(Bound { prepared: session.prepare(&write.sql, &types).await?, params })
}

/// Each value is sent as what it is; a null as whatever the statement needs there.
fn params<'a>(sql: &str, values: &'a [Value]) -> Result<Vec<Param<'a>>, String> {
    let used = used_parameters(sql);
    if let Some(missing) = (1..=values.len()).find(|number| !used.contains(number)) {
        return Err(format!("{} parameters were given, the statement has no ${missing}", values.len()));
    }
    if let Some(number) = used.iter().find(|number| **number > values.len()) {
        return Err(format!("the statement has a ${number}, {} parameters were given", values.len()));
    }
    let kind = |value: &Value| match value {
        Value::Null => Type::UNKNOWN,
        Value::Int(_) => Type::INT8,
        Value::Real(_) => Type::FLOAT8,
        Value::Text(_) => Type::TEXT,
        Value::Blob(_) => Type::BYTEA,
    };
    Ok(values.iter().map(|value| (value as &(dyn ToSql + Sync), kind(value))).collect())
}

/// The numbers of the parameters `$n` in a statement, outside of its texts and names.
fn used_parameters(sql: &str) -> Vec<usize> {
    let mut used = Vec::new();
    let mut quote = None;
    let mut rest = sql.chars();
    while let Some(char) = rest.next() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (None, '\'' | '"') => quote = Some(char),
            (None, '$') => {
                let digits = rest.as_str().len()
                    - rest.as_str().trim_start_matches(|c: char| c.is_ascii_digit()).len();
                used.extend(rest.as_str()[..digits].parse::<usize>());
            }
            _ => {}
        }
    }
    used
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(value) => value.to_sql(kind, out),
            Value::Real(value) => value.to_sql(kind, out),
            Value::Text(value) => value.to_sql(kind, out),
            Value::Blob(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Value, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Value::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Value::Int(i32::from_sql(kind, raw)?.into()),
            Type::INT2 => Value::Int(i16::from_sql(kind, raw)?.into()),
            Type::BOOL => Value::Int(bool::from_sql(kind, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(kind, raw)?),
            Type::FLOAT4 => Value::Real(f32::from_sql(kind, raw)?.into()),
            Type::NUMERIC => numeric(raw)?,
            Type::BYTEA => Value::Blob(raw.to_owned()),
            _ if <&str as FromSql<'_>>::accepts(kind) || *kind == Type::UNKNOWN => {
                Value::Text(std::str::from_utf8(raw)?.to_owned())
            }
            _ => {
                return Err(
                    format!("a column of type {kind}: CAST it to BIGINT, TEXT or another of ours").into()
                );
            }
        })
    }

    fn from_sql_null(_: &Type) -> Result<Value, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Value::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// What `sum` makes of whole numbers: digits to the base of 10,000, with the weight of the first.
fn numeric(raw: &[u8]) -> Result<Value, Box<dyn std::error::Error + Sync + Send>> {
    let words: Vec<u16> = raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let [_, weight, sign, _, digits @ ..] = words.as_slice() else { return Err("half a number".into()) };
    let weight = i32::from(weight.cast_signed());
    let value = digits.iter().zip(0..).fold(0.0, |sum, (digit, place): (&u16, i32)| {
        sum + f64::from(*digit) * 10_000_f64.powi(weight - place)
    });
    let whole = digits.iter().zip(0..).try_fold(0_i64, |sum, (digit, place)| {
        let power = 10_000_i64.checked_pow(u32::try_from(weight - place).ok()?)?;
        sum.checked_add(i64::from(*digit).checked_mul(power)?)
    });
    let is_negative = match sign {
        0 => false,
        0x4000 => true,
        _ => return Ok(Value::Real(f64::NAN)),
    };
    Ok(match whole {
        Some(whole) => Value::Int(if is_negative { -whole } else { whole }),
        None => Value::Real(if is_negative { -value } else { value }),
    })
}

/// A connection that only reads.
pub(super) struct PostgresReader {
    runtime: Runtime,
    config: PostgresConfig,
    setup: Setup,
    session: RefCell<Option<Session>>,
}

impl PostgresReader {
    pub fn new(config: PostgresConfig, path: Path) -> Result<PostgresReader, Error> {
        let setup = Setup::new(&config, path);
        Ok(PostgresReader { runtime: new_runtime()?, config, setup, session: RefCell::new(None) })
    }

    fn ask(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<SqlRow>, Failure> {
        let kept = self.session.take();
        let (session, result) = self.runtime.block_on(async {
            let session = match kept {
                Some(session) if !session.is_lost().await => session,
                _ => match Session::open(&self.config, &self.setup, None).await {
                    Ok(session) => session,
                    Err(failure) => return (None, Err(failure)),
                },
            };
            let result = read(&session, sql, params).await;
            let is_lost = result.as_ref().is_err_and(Failure::ends_the_connection);
            ((!is_lost).then_some(session), result)
        });
        self.session.replace(session);
        result
    }
}

/// One round trip, two for a statement that is new.
async fn read(session: &Session, sql: &str, params: &[Param<'_>]) -> Result<Vec<SqlRow>, Failure> {
    let types: Vec<Type> = params.iter().map(|(_, kind)| kind.clone()).collect();
    let prepared = session.prepare(sql, &types).await?;
    let (begun, answer, ended) = tokio::join!(
        biased;
        session.begin("READ ONLY"),
        session.run(&prepared, params, MAX_ROWS),
        session.script("COMMIT"),
    );
    begun?;
    let answer = answer?;
    ended?;
    Ok(answer)
}

impl Reader for PostgresReader {
    fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        let params = params(sql, values).map_err(Error::Query)?;
        let answer = self.ask(sql, &params).map_err(|failure| failure.in_statement(Error::Query))?;
        if answer.len() > MAX_ROWS {
            return Err(Error::Query(format!("more than {MAX_ROWS} rows: give it a LIMIT")));
        }
        let mut found = Vec::with_capacity(answer.len());
        for row in &answer {
            let values: Result<Vec<Value>, _> = (0..row.len()).map(|column| row.try_get(column)).collect();
            found.push(Row {
                values: values.map_err(|error| Failure::from(error).in_statement(Error::Query))?,
            });
        }
        Ok(found)
    }

    fn backup(&self, _: &FilePath) -> Result<(), Error> {
        Err(Error::Refused(format!(
            "PostgreSQL is backed up with its own tools: pg_dump --format=custom --schema={} --file=FILE",
            self.config.schema()
        )))
    }

    fn nodes(&self) -> Result<Vec<Node>, Error> {
        let answer = self.ask(nodes::LIST, &[]).map_err(Failure::outside_commit)?;
        answer.iter().map(|row| nodes::node(row).map_err(Failure::outside_commit)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_outside_of_quotes() {
        for (sql, expected) in [
            ("SELECT 1", vec![]),
            ("SELECT $1, $12 + $1", vec![1, 12, 1]),
            ("SELECT '$1', \"a$2\", 'it''s $3', $4::text", vec![4]),
        ] {
            assert_eq!(used_parameters(sql), expected, "{sql}");
        }
    }

    #[test]
    fn numerics_are_whole_numbers_where_they_can_be() {
        let raw = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        for (words, expected) in [
            (&[0, 0, 0, 0][..], Value::Int(0)),
            (&[1, 0, 0, 0, 42], Value::Int(42)),
            (&[2, 1, 0x4000, 0, 1, 2345], Value::Int(-12_345)),
            (&[1, 1, 0, 0, 3], Value::Int(30_000)),
            (&[2, 0, 0, 1, 1, 5_000], Value::Real(1.5)),
            (&[1, 5, 0, 0, 1], Value::Real(1e20)),
        ] {
            assert_eq!(numeric(&raw(words)).unwrap(), expected, "{words:?}");
        }
    }
}

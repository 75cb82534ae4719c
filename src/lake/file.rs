//! Rows to Parquet and back.
//!
//! The crate's column writer is used, without Arrow. Every column may miss values, so definition levels are 0 and 1.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use super::rows::{Rows, Values};
use super::table::{Column, Kind, SCHEMA, Table};

/// Key of the schema's version in the file's metadata.
const SCHEMA_KEY: &str = "outpost.schema";

/// The rows as a file.
///
/// # Errors
/// When the crate refuses what we give it.
pub(super) fn encode(rows: &Rows) -> Result<Vec<u8>> {
    write(rows.table(), rows.table().columns(), rows.columns())
}

fn write(table: Table, columns: &[Column], values: &[Values]) -> Result<Vec<u8>> {
    let version = KeyValue::new(SCHEMA_KEY.to_owned(), Some(SCHEMA.to_owned()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("outpost ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![version]))
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema(table, columns)?), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for values in values {
        let mut column = group.next_column()?.context("the file has fewer columns than the table")?;
        match values {
            Values::Text(values) => put::<ByteArrayType, _>(&mut column, values, |text| text.as_str().into())?,
            Values::Int(values) => put::<Int64Type, _>(&mut column, values, |number| *number)?,
            Values::Real(values) => put::<DoubleType, _>(&mut column, values, |number| *number)?,
            Values::Flag(values) => put::<BoolType, _>(&mut column, values, |flag| *flag)?,
        }
        column.close()?;
    }
    group.close()?;
    writer.into_inner().context("finish a file of the lake")
}

fn put<T: DataType, V>(
    column: &mut SerializedColumnWriter<'_>,
    values: &[Option<V>],
    convert: impl Fn(&V) -> T::T,
) -> Result<()> {
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let present: Vec<T::T> = values.iter().flatten().map(convert).collect();
    column.typed::<T>().write_batch(&present, Some(&levels), None)?;
    Ok(())
}

fn schema(table: Table, columns: &[Column]) -> Result<Type> {
    let fields: Result<Vec<_>> = columns.iter().map(|column| field(column).map(Arc::new)).collect();
    Ok(Type::group_type_builder(table.as_str()).with_fields(fields?).build()?)
}

fn field((name, kind): &Column) -> Result<Type> {
    let (physical, logical) = match kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Int => (Physical::INT64, None),
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        Kind::Real => (Physical::DOUBLE, None),
        Kind::Flag => (Physical::BOOLEAN, None),
    };
    let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
    Ok(builder.with_logical_type(logical).build()?)
}

/// The rows of a file that [`encode`] wrote, also an earlier one with fewer columns.
///
/// # Errors
/// When the file is damaged, or holds columns that this version does not know.
pub(super) fn decode(table: Table, bytes: Vec<u8>) -> Result<Rows> {
    let reader = SerializedFileReader::new(Bytes::from(bytes))?;
    let known = reader.metadata().file_metadata().schema_descr_ptr();
    let position = |name: &str| known.columns().iter().position(|column| column.name() == name);
    let all_known = known.columns().iter().all(|column| table.columns().iter().any(|(name, _)| *name == column.name()));
    if !all_known {
        bail!("it has columns that this version does not know");
    }
    let mut rows = Rows::new(table);
    for index in 0..reader.num_row_groups() {
        let group = reader.get_row_group(index)?;
        let len = usize::try_from(group.metadata().num_rows()).context("a number of rows")?;
        let read = |(name, kind): &Column| column(&*group, position(name), *kind, len).context(*name);
        let columns: Result<Vec<_>> = table.columns().iter().map(read).collect();
        rows.append(Rows::of(table, columns?, len)?)?;
    }
    Ok(rows)
}

fn column(group: &dyn RowGroupReader, position: Option<usize>, kind: Kind, len: usize) -> Result<Values> {
    let reader = position.map(|position| group.get_column_reader(position)).transpose()?;
    let text = |value: ByteArray| value.as_utf8().map(str::to_owned).map_err(anyhow::Error::from);
    Ok(match (kind, reader) {
        (Kind::Text, None) => Values::Text(vec![None; len]),
        (Kind::Int | Kind::Time, None) => Values::Int(vec![None; len]),
        (Kind::Real, None) => Values::Real(vec![None; len]),
        (Kind::Flag, None) => Values::Flag(vec![None; len]),
        (Kind::Text, Some(ColumnReader::ByteArrayColumnReader(reader))) => Values::Text(get(reader, len, text)?),
        (Kind::Int | Kind::Time, Some(ColumnReader::Int64ColumnReader(reader))) => Values::Int(get(reader, len, Ok)?),
        (Kind::Real, Some(ColumnReader::DoubleColumnReader(reader))) => Values::Real(get(reader, len, Ok)?),
        (Kind::Flag, Some(ColumnReader::BoolColumnReader(reader))) => Values::Flag(get(reader, len, Ok)?),
        _ => bail!("it is of another kind"),
    })
}

fn get<T: DataType, V>(
    mut reader: ColumnReaderImpl<T>,
    len: usize,
    convert: impl Fn(T::T) -> Result<V>,
) -> Result<Vec<Option<V>>> {
    let (mut levels, mut present) = (Vec::new(), Vec::new());
    reader.read_records(len, Some(&mut levels), None, &mut present)?;
    let mut present = present.into_iter();
    let next = |level: i16| match level {
        0 => Ok(None),
        _ => present.next().context("a value is missing").and_then(&convert).map(Some),
    };
    levels.into_iter().map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As many rows of a table, with whatever values.
    fn rows(table: Table, len: usize) -> impl Strategy<Value = Rows> {
        let column = move |kind: &Kind| match kind {
            Kind::Text => prop::collection::vec(prop::option::of(".{0,12}"), len).prop_map(Values::Text).boxed(),
            Kind::Int | Kind::Time => {
                prop::collection::vec(prop::option::of(any::<i64>()), len).prop_map(Values::Int).boxed()
            }
            Kind::Real => prop::collection::vec(prop::option::of(-1e9..1e9f64), len).prop_map(Values::Real).boxed(),
            Kind::Flag => prop::collection::vec(prop::option::of(any::<bool>()), len).prop_map(Values::Flag).boxed(),
        };
        let columns: Vec<_> = table.columns().iter().map(|(_, kind)| column(kind)).collect();
        columns.prop_map(move |columns| Rows::of(table, columns, len).expect("rows of the table"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn rows_are_read_as_they_were_written_and_merged_in_order(
            (mut one, two) in (0..Table::ALL.len(), 0..40usize, 0..40usize)
                .prop_flat_map(|(table, a, b)| (rows(Table::ALL[table], a), rows(Table::ALL[table], b)))
        ) {
            let read = decode(one.table(), encode(&one).expect("encode")).expect("decode");
            prop_assert_eq!(&read, &one);
            let mut merged = read;
            merged.append(decode(two.table(), encode(&two).expect("encode")).expect("decode")).expect("append");
            one.append(two).expect("append");
            let merged = decode(one.table(), encode(&merged).expect("encode")).expect("decode");
            prop_assert_eq!(merged, one);
        }
    }

    #[test]
    fn a_file_of_before_a_column_was_added_is_read_and_one_of_later_is_not() {
        let columns = [Values::Int(vec![Some(7), Some(8)]), Values::Text(vec![Some("a".to_owned()), None])];
        let (table, before) = (Table::Tombstones, &Table::Tombstones.columns()[..2]);
        let read = decode(table, write(table, before, &columns).expect("write")).expect("read");
        assert_eq!((read.len(), &read.columns()[..2]), (2, columns.as_slice()));
        assert_eq!(read.columns()[9], Values::Flag(vec![None, None]));
        let later = [before[0], ("of_later", Kind::Text)];
        let refused = decode(table, write(table, &later, &columns).expect("write")).expect_err("not ours");
        assert!(refused.to_string().contains("does not know"), "{refused}");
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let bytes = encode(&Rows::new(Table::Health)).expect("encode");
        assert!(decode(Table::Health, bytes[..bytes.len() - 9].to_vec()).is_err());
        assert!(decode(Table::Health, b"PAR1".to_vec()).is_err());
    }
}

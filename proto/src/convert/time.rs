//! Durations and instants.

use std::time::Duration;

use engine_core::time::Timestamp;

use super::ConvertError;

const NANOS_PER_SECOND: i32 = 1_000_000_000;

/// A duration as a message. Durations over 292 billion years become that.
pub fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    let nanos = i32::try_from(duration.subsec_nanos()).expect("subsec_nanos is below 10^9");
    prost_types::Duration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
}

/// A duration from a message. Refuses negative ones, and nanoseconds that are not a fraction of a second.
pub fn duration_from_proto(field: &str, message: prost_types::Duration) -> Result<Duration, ConvertError> {
    let prost_types::Duration { seconds, nanos } = message;
    if seconds < 0 || nanos < 0 {
        return Err(ConvertError::new(field, "must not be negative"));
    }
    if nanos >= NANOS_PER_SECOND {
        return Err(ConvertError::new(field, format_args!("has {nanos} nanoseconds; the limit is 999999999")));
    }
    Ok(Duration::new(seconds.unsigned_abs(), nanos.unsigned_abs()))
}

/// A duration from a message that may be missing.
pub fn optional_duration_from_proto(
    field: &str,
    message: Option<prost_types::Duration>,
) -> Result<Option<Duration>, ConvertError> {
    message.map(|message| duration_from_proto(field, message)).transpose()
}

/// An instant as a message.
pub fn timestamp_to_proto(at: Timestamp) -> prost_types::Timestamp {
    let micros = at.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).expect("a fraction of a second is below 10^9 ns");
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// An instant from a message, cut to microseconds. Refuses instants that 64 bits of microseconds cannot hold.
pub fn timestamp_from_proto(field: &str, message: prost_types::Timestamp) -> Result<Timestamp, ConvertError> {
    let prost_types::Timestamp { seconds, nanos } = message;
    if !(0..NANOS_PER_SECOND).contains(&nanos) {
        return Err(ConvertError::new(
            field,
            format_args!("has {nanos} nanoseconds; they must be from 0 to 999999999"),
        ));
    }
    // In 128 bits, because the first second of the range begins before the first microsecond of it.
    let micros = i128::from(seconds) * 1_000_000 + i128::from(nanos / 1000);
    i64::try_from(micros)
        .map(Timestamp::from_micros)
        .map_err(|_| ConvertError::new(field, format_args!("is {seconds} seconds from 1970, which is out of range")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_instants_survive_a_round_trip() {
        for duration in
            [Duration::ZERO, Duration::from_nanos(1), Duration::new(7, 999_999_999), Duration::from_secs(1 << 40)]
        {
            assert_eq!(duration_from_proto("d", duration_to_proto(duration)), Ok(duration));
        }
        for micros in [i64::MIN, -1_000_001, -1, 0, 1, 1_700_000_000_123_456, i64::MAX] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(timestamp_from_proto("t", timestamp_to_proto(at)), Ok(at));
        }
    }

    #[test]
    fn a_negative_or_malformed_time_names_its_field() {
        let message = |seconds, nanos| prost_types::Duration { seconds, nanos };
        let error = duration_from_proto("run_timeout", message(-1, 0)).unwrap_err();
        assert_eq!(error.to_string(), "run_timeout: must not be negative");
        assert!(duration_from_proto("run_timeout", message(0, -1)).is_err());
        assert!(duration_from_proto("run_timeout", message(0, 1_000_000_000)).is_err());
        let message = |seconds, nanos| prost_types::Timestamp { seconds, nanos };
        assert!(timestamp_from_proto("deadline", message(i64::MAX, 0)).is_err());
        assert!(timestamp_from_proto("deadline", message(0, -1)).is_err());
    }
}

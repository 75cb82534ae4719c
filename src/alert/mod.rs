//! Outlet: events to people, by MQTT.

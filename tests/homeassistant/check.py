"""Judges what a box announces by Home Assistant's own code.

    check.py MESSAGES PREFIX

MESSAGES holds one JSON object a line: topic, payload, of everything that the broker keeps. Every announcement below
PREFIX goes through the matcher, the abbreviations and the schema of its component, as discovery does it; then its
templates are rendered with the state that the broker keeps under the topic it names. Prints one JSON object a line for
each entity: component, unique_id, name, device, state, available, command_topic.
"""

import asyncio
import importlib
import json
import sys

from homeassistant.components.mqtt.abbreviations import (
    ABBREVIATIONS,
    DEVICE_ABBREVIATIONS,
    ORIGIN_ABBREVIATIONS,
)
from homeassistant.components.mqtt.discovery import SUPPORTED_COMPONENTS, TOPIC_MATCHER
from homeassistant.core import HomeAssistant
from homeassistant.helpers.template import Template

try:
    from homeassistant.components.mqtt.schemas import MQTT_ORIGIN_INFO_SCHEMA
except ImportError:  # before 2024.6
    from homeassistant.components.mqtt.mixins import MQTT_ORIGIN_INFO_SCHEMA


def spelt_out(fields, names):
    return {names.get(key, key): value for key, value in fields.items()}


def announcement(topic, payload, prefix):
    match = TOPIC_MATCHER.fullmatch(topic[len(prefix) + 1 :])
    assert match, f"{topic} is no discovery topic"
    component = match.group("component")
    assert component in SUPPORTED_COMPONENTS, component
    fields = spelt_out(json.loads(payload), ABBREVIATIONS)
    fields["device"] = spelt_out(fields["device"], DEVICE_ABBREVIATIONS)
    fields["origin"] = spelt_out(fields["origin"], ORIGIN_ABBREVIATIONS)
    MQTT_ORIGIN_INFO_SCHEMA(fields["origin"])
    # Read since 2025.10; its domain has to be that of the component.
    assert fields["default_entity_id"] == f"{component}.{fields['object_id']}", topic
    fields["platform"] = "mqtt"
    module = importlib.import_module(f"homeassistant.components.mqtt.{component}")
    return component, module.DISCOVERY_SCHEMA(fields)


def rendered(hass, template, payload):
    if template is None:
        return payload
    text = template.template if isinstance(template, Template) else template
    return str(Template(text, hass).async_render_with_possible_json_value(payload, "unknown"))


def state_of(hass, component, config, kept):
    topic = config.get("state_topic") or config.get("image_topic")
    if topic is None or topic not in kept or component == "image":
        return None
    state = rendered(hass, config.get("value_template"), kept[topic])
    if component == "binary_sensor":
        # "None" is unknown.
        assert state in (config["payload_on"], config["payload_off"], "None"), f"{topic}: {state!r}"
    if component == "switch":
        known = (config.get("state_on") or config["payload_on"], config.get("state_off") or config["payload_off"])
        assert state in known, f"{topic}: {state!r}"
    if component == "sensor" and config.get("state_class"):
        assert state == "None" or float(state) is not None, f"{topic}: {state!r}"
    return state


def is_available(hass, config, kept):
    """Nothing, as long as one of the topics says neither yes nor no."""
    said = []
    for one in config.get("availability") or []:
        answer = rendered(hass, one.get("value_template"), kept.get(one["topic"], ""))
        assert answer in (one["payload_available"], one["payload_not_available"]), answer
        said.append(answer == one["payload_available"])
    return all(said)


async def main(messages, prefix):
    hass = HomeAssistant("/nonexistent")
    kept = {}
    with open(messages, encoding="utf-8") as lines:
        for message in map(json.loads, lines):
            kept[message["topic"]] = message["payload"]
    ids = set()
    for topic, payload in kept.items():
        if not (topic.startswith(f"{prefix}/") and topic.endswith("/config") and payload):
            continue
        component, config = announcement(topic, payload, prefix)
        assert config["unique_id"] not in ids, config["unique_id"]
        ids.add(config["unique_id"])
        entity = {
            "component": component,
            "unique_id": config["unique_id"],
            "name": config["name"],
            "device": config["device"]["name"],
            "state": state_of(hass, component, config, kept),
            "available": is_available(hass, config, kept),
            "command_topic": config.get("command_topic"),
        }
        print(json.dumps(entity))
    await hass.async_stop(force=True)


asyncio.run(main(*sys.argv[1:]))

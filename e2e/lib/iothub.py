"""Microsoft's library for IoT hubs, for the tests to compare signatures with and to make and read devices.

iothub.py sign HOST POLICY KEY EXPIRES      prints the signature that it makes for this time
iothub.py create URL CONNECTION DEVICE      makes a device in the hub that answers at URL; prints {"status", "device"}
iothub.py get URL CONNECTION DEVICE         reads it
"""
import json
import sys

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.sastoken import SasToken
from msrest.exceptions import HttpOperationError

# As in its documentation: keys of a device are base64.
KEYS = ("cHJpbWFyeQ==", "c2Vjb25kYXJ5")


def sign(host, policy, key, expires):
    token = SasToken(host, key, policy)
    # It counts from now; the comparison is of one moment.
    token.expiry_time = int(expires)
    print(token._build_token())


def registry(does, url, connection):
    manager = IoTHubRegistryManager.from_connection_string(connection)
    # It signs for the hub of the connection string, and finds it here.
    manager.protocol._client.config.base_url = url
    try:
        device = does(manager)
        print(json.dumps({"status": 200, "device": {"id": device.device_id, "status": device.status}}))
    except HttpOperationError as error:
        print(json.dumps({"status": error.response.status_code, "device": None}))


def create(url, connection, device):
    registry(lambda manager: manager.create_device_with_sas(device, *KEYS, "enabled"), url, connection)


def get(url, connection, device):
    registry(lambda manager: manager.get_device(device), url, connection)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"sign": sign, "create": create, "get": get}[command](*arguments)

"""What joins a UNet's calls for a while: IP-Adapters, ControlNets, LoRAs for few steps."""

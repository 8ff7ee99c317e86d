"""EMULATED devices and links, for demos and tests without the hardware.

The executor `emulated_clock` stretches what runs as a slower clock would; `midcut_emulation.link` is a proxy on
real sockets that is as slow as a trace says. Both follow the wall clock from `epoch_s` on, so that two processes
given one trace and one `epoch_s` stay in step.
"""

"""Models that come over MQTT: signed by the owner, written beside the present one, on trial first, taken back when they fail.

package    the signed package and the messages that carry it; shared with the workstation (converters.deploy)
disk       files that are there after a power cut, or not there at all
slots      the two places for models, and the pointer that says which one counts
transfer   a package on its way: the file that grows, and goes on where it broke off
inbox      the thread that takes the messages
updates    the trial: what comes in is proven, switched to, watched, and kept or taken back
"""

"""Emulated devices: whole fleets as arrays, one row a device, stepped under any clock.

Each kind has a file of its own with its equations and their source: ratings and state are arrays of shape (n,), a
``step`` takes state, inputs and the length of the step [s] and gives the next state and what the devices report, under
the point names of the Thing Models in ``energy/models``. Steps are pure: chance comes from a generator that is handed
in, time from the caller. `fleet.Fleet` puts kinds together behind one numbering of points and takes orders;
`failure` makes them fail. How well they match what was measured: ``docs/emulators.md``.

::

    weather ─► load ─► ┐
       │  ├──► pv ───► │
       │  ├► heat pump ┼─► net power of a home ─► voltage ─► meter
       │     charger ► │                            │
       │     battery ► ┘ ◄── net power before ──────┘ volt-var, volt-watt
       └─► wind turbine, CHP plant, weather station

Power is import positive: what a device draws is positive, what it generates or discharges is negative. Energy is two
registers [Wh]. ``pv`` and ``weather`` need the optional extra ``gridspine[emulator]`` (pvlib).
"""

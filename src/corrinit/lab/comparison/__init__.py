"""Which initialization suits this network on these data?"""
